"""Against DNIKit 2.0.0, the code of the paper's authors, through the public functions.

`data/dnikit_excerpt.json` holds covariances, counts and removal orders of five of its layers
(DNIKit is Apache-2.0; the inputs are synthetic), so that part of this runs without ../shared.
"""

import json
from functools import cache
from pathlib import Path

import numpy as np
import pytest

from pfa_gate.analysis.covariance import JackknifeFolds, Moments
from pfa_gate.analysis.spectrum import Spectrum, analyse, spectrum, spectrum_of_folds
from pfa_gate.compress.select import removal_order
from pfa_gate.errors import TooFewSamplesError
from pfa_gate.recipe import Rule, keep_energy, keep_kl, recipe

EXCERPT = json.loads((Path(__file__).parent / "data" / "dnikit_excerpt.json").read_text())
COUNTED = (
    "well_f64",
    "well_f32",
    "correlated_f64",
    "dead_f64",
    "duplicates_f64",
    "relu_f32",
    "two_units_f64",
    "tiny_scale_f64",
    "bigmean_f32",
)
ORDERED = (
    "well_f64",
    "well_f32",
    "correlated_f64",
    "dead_f64",
    "manydead_f64",
    "duplicates_f64",
    "relu_f32",
    "bigmean_f32",
    "const03_f32",
    "allzero_f64",
    "one_unit_f64",
    "two_units_f64",
)


def assert_order(got: Spectrum, removed: list[int]) -> None:
    assert removal_order(got)[: len(removed)].tolist() == removed


@pytest.mark.parametrize("layer", EXCERPT)
def test_excerpt(layer):
    wanted = EXCERPT[layer]
    filters, samples = len(wanted["covariance"]), wanted["samples"]
    scatter = np.array(wanted["covariance"]) * (samples - 1)
    got = spectrum(Moments(samples, np.zeros(filters), scatter))
    assert keep_kl(got) == wanted["kl"]
    assert {t: keep_energy(got, float(t)) for t in wanted["energy"]} == wanted["energy"]
    assert np.flatnonzero(got.inactive).tolist() == wanted["inactive"]
    assert_order(got, wanted["removed"])


@pytest.mark.shared_data
class TestShared:
    @pytest.fixture(scope="class")
    @staticmethod
    def oracle(shared):
        return json.loads((shared / "oracle" / "dnikit.json").read_text())

    @pytest.fixture(scope="class")
    @staticmethod
    def responses(shared):
        with np.load(shared / "oracle" / "dnikit.npz") as stored:
            arrays = {name.removeprefix("X_"): stored[name] for name in stored if name.startswith("X_")}
        return cache(lambda layer: arrays[layer])

    @pytest.mark.parametrize("layer", COUNTED)
    @pytest.mark.parametrize("batch", [1, 7, 10_000])
    def test_counts(self, oracle, responses, layer, batch):
        rows, wanted = responses(layer), oracle["layers"][layer]
        shards = JackknifeFolds(rows.shape[1])
        for start in range(0, len(rows), batch):
            shards.add(rows[start : start + batch])
        got = spectrum_of_folds(shards.moments())
        assert keep_kl(got) == wanted["kl"]["count"]
        # DNIKit sums bigmean_f32 in float32; the others agree far more closely, see below.
        assert got.kl == pytest.approx(wanted["kl"]["kl_divergence"], rel=2e-3)
        counts = {t: each["count"] for t, each in wanted["energy"].items()}
        assert {t: keep_energy(got, float(t)) for t in counts} == counts

    def test_counts_of_one_direction(self, oracle, responses):
        # At energy 1.0 DNIKit follows rounding noise from 1 to 3.
        got, wanted = analyse(responses("rank1_f64")), oracle["layers"]["rank1_f64"]
        assert keep_kl(got) == wanted["kl"]["count"] == 1
        assert {keep_energy(got, float(t)) for t in wanted["energy"]} == {1}

    def test_counts_are_clamped_to_the_active(self, oracle, responses):
        got, wanted = analyse(responses("manydead_f64")), oracle["layers"]["manydead_f64"]
        assert keep_kl(got) == got.active == 16
        counts = {t: min(16, each["count"]) for t, each in wanted["energy"].items()}
        assert {t: keep_energy(got, float(t)) for t in counts} == counts

    @pytest.mark.parametrize("layer", ["well_f64", "correlated_f64", "dead_f64", "duplicates_f64"])
    def test_eigenvalues_and_kl(self, oracle, responses, shared, layer):
        with np.load(shared / "oracle" / "dnikit.npz") as stored:
            raw = np.sort(stored[f"eig_{layer}"])[::-1]
        got = analyse(responses(layer))
        np.testing.assert_allclose(got.eigenvalues, raw / raw.sum(), atol=1e-12)
        assert got.kl == pytest.approx(oracle["layers"][layer]["kl"]["kl_divergence"], rel=1e-10)

    @pytest.mark.parametrize("layer", ORDERED)
    def test_removal_orders(self, oracle, responses, layer):
        got, wanted = analyse(responses(layer)), oracle["layers"][layer]
        for removed in wanted["removed_units_by_keep"]["L1Max"].values():
            assert_order(got, removed)
        if not layer.startswith("const"):
            assert set(wanted["inactive_units"]) <= set(np.flatnonzero(got.inactive).tolist())

    def test_removal_of_one_direction_is_the_same_set(self, oracle, responses):
        order = removal_order(analyse(responses("rank1_f64"))).tolist()
        for removed in oracle["layers"]["rank1_f64"]["removed_units_by_keep"]["L1Max"].values():
            assert set(order[: len(removed)]) == set(removed)

    def test_removal_order_but_for_the_flag(self, oracle, responses):
        # DNIKit calls unit 2 inactive at a hundred-thousandth of the spread of the others.
        rows = responses("neardead_f64").copy()
        assert not analyse(rows).inactive.any()
        rows[:, 2] = 0.0
        for removed in oracle["layers"]["neardead_f64"]["removed_units_by_keep"]["L1Max"].values():
            assert_order(analyse(rows), removed)

    @pytest.mark.parametrize("layer", ["n_eq_c_f64", "n_lt_c_f64"])
    def test_too_few_samples(self, responses, layer):
        with pytest.raises(TooFewSamplesError):
            analyse(responses(layer))

    def test_one_energy_for_all_layers(self, oracle, responses):
        spectra = {layer: analyse(responses(layer)) for layer in oracle["joint"]["layers"]}
        for wanted in oracle["joint"]["size"].values():
            rule = Rule("parameters", target=sum(wanted.values()))
            assert recipe(spectra, lambda keep: sum(keep.values()), rule).counts == wanted
