"""Disks with parts: partitions, and logical volumes of LVM2."""
