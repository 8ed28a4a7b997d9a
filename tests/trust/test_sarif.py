"""SARIF for CI systems, against the schema of its version 2.1.0.

``sarif-2.1.0-schema.json`` is the OASIS schema without its descriptions, as it comes with the npm
package @microsoft/jest-sarif 1.0.0-beta.0 (MIT).
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from luksmeta import MemoryStorage, check
from luksmeta.errors import StorageError
from luksmeta.trust import sarif
from luksmeta.trust.rows import Row
from luksmeta.trust.rules import RULES
from tests.trust.attacks import ATTACKS
from tests.trust.images import good_image

SCHEMA = json.loads(Path(__file__).with_name("sarif-2.1.0-schema.json").read_text())


def rows() -> list[Row]:
    """A row for every attack, one that holds, and one that could not be read."""
    attacked = (check(MemoryStorage(each.change(good_image()))) for each in ATTACKS)
    failed = Row("a b.img", "default").failed(StorageError("short read").about("a b.img"))
    return [Row.of(each, "/disks/x.img") for each in attacked] + [Row("good", "default"), failed]


@pytest.fixture(scope="module")
def log() -> dict[str, Any]:
    document: dict[str, Any] = json.loads(json.dumps(sarif.log(rows(), "1.2.3")))
    return document


def test_the_schema_tells_good_from_bad(log: dict[str, Any]) -> None:
    jsonschema.Draft4Validator.check_schema(SCHEMA)
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.Draft4Validator(SCHEMA).validate({**log, "version": "1.0"})


def test_the_log_is_sarif(log: dict[str, Any]) -> None:
    jsonschema.Draft4Validator(SCHEMA).validate(log)
    jsonschema.Draft4Validator(SCHEMA).validate(sarif.log([], "1"))


def test_every_rule_is_described_and_every_result_points_to_its_rule(log: dict[str, Any]) -> None:
    (run,) = log["runs"]
    rules = run["tool"]["driver"]["rules"]
    assert [each["id"] for each in rules] == [rule.name for rule in RULES]
    assert run["results"]
    for result in run["results"]:
        assert rules[result["ruleIndex"]]["id"] == result["ruleId"]
        assert result["message"]["text"]
        assert result["level"] in ("error", "warning")


def test_a_result_says_where_it_is() -> None:
    attack = next(each for each in ATTACKS if each.name == "iv-tweak-moved")
    report = check(MemoryStorage(attack.change(good_image())))

    def location(image: str) -> Any:  # noqa: ANN401  # JSON
        document: Any = sarif.log([Row.of(report, image)], "1")
        return document["runs"][0]["results"][0]["locations"][0]

    assert location("disks/a b#.img") == {
        "physicalLocation": {"artifactLocation": {"uri": "disks/a%20b%23.img"}},
        "logicalLocations": [{"fullyQualifiedName": "segments.0.iv_tweak"}],
    }
    for image, uri in (("/a b", "file:///a%20b"), ("s3://b/k y?v=1", "s3://b/k%20y?v=1")):
        assert location(image)["physicalLocation"]["artifactLocation"]["uri"] == uri


def test_what_could_not_be_read_makes_the_run_a_failure(log: dict[str, Any]) -> None:
    (invocation,) = log["runs"][0]["invocations"]
    assert invocation["executionSuccessful"] is False
    texts = [each["message"]["text"] for each in invocation["toolExecutionNotifications"]]
    assert "a b.img: short read" in texts
    good: Any = sarif.log([Row("good", "default")], "1")
    assert good["runs"][0]["invocations"][0]["executionSuccessful"] is True
