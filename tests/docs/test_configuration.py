"""The tables of docs/configuration.md are those of the schema; PFA_GATE_UPDATE_GOLDEN=1 writes them."""

import re

import pytest
from documents import UPDATE, read, section, write
from key_tables import sections, table

PAGE = "configuration.md"
WHERE = {
    "Root": "The file",
    "GateSections": "A gate",
    "ModelConfig": "`model`",
    "ProbeConfig": "`probe`",
    "ImageFolder": "Images in folders",
    "JsonLines": "Lines of JSON",
    "LayersConfig": "`layers`",
    "RecipeConfig": "`recipe`",
    "CompensateOptions": "Options of `compensate`",
    "DistillOptions": "Options of `distill`",
    "SparsifyConfig": "`sparsify`",
    "SparsifyLayers": "`sparsify.layers`",
    "FactorizeConfig": "`factorize`",
    "QuantizeConfig": "`quantize`",
    "QuantizeLayers": "`quantize.layers`",
    "CandidateConfig": "`candidate`",
    "EvaluationConfig": "`evaluation`",
    "EnergyConfig": "`energy`",
    "LatencyConfig": "`latency`",
    "BudgetsConfig": "`budgets`",
    "LayerRule": "A rule of `budgets.layers`",
    "ModelBudgets": "`budgets.model`",
    "CompressedBudgets": "`budgets.compressed`",
    "QuantizedBudgets": "`budgets.quantized`",
    "Waiver": "`allow`",
}
"""Where the keys of a type are explained."""
_OF_KEYS = re.compile(r"^\| key \|.*\n(?:\|.*\n)*", re.MULTILINE)


def test_every_section_of_a_config_has_a_place() -> None:
    assert set(WHERE) == set(sections())


@pytest.mark.parametrize("name", WHERE)
def test_the_table_of_keys_is_that_of_the_schema(name: str) -> None:
    wanted, found = table(sections()[name]), section(PAGE, WHERE[name])
    if UPDATE:
        fresh = _OF_KEYS.sub(lambda _: wanted, found, count=1)
        write(PAGE, read(PAGE).replace(found, fresh, 1))
        found = fresh
    assert _OF_KEYS.findall(found) == [wanted]
