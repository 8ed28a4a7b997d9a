"""Trying passphrases that are almost known: variants, word lists with rules, many processes."""
