"""Any record: a strategy of hypothesis for tests of several rooms."""

from typing import Any

from hypothesis import strategies as st

from pfa_gate.budget import (
    AnswerPair,
    Answers,
    ClassAnswers,
    Estimated,
    Finding,
    Flip,
    LayerFinding,
    Machine,
    Parity,
    Size,
)
from pfa_gate.record import (
    BatchTiming,
    Compared,
    CompressedRecord,
    Correlations,
    DemandsRecord,
    Exact,
    FactorizedLayer,
    FactorizedRecord,
    LayerRecord,
    LiveRecord,
    MemoryRecord,
    Probe,
    QuantizedLayer,
    QuantizedRecord,
    RecipeRecord,
    Record,
    RecoveryStep,
    Repair,
    RoundedForecast,
    Scores,
    TimingRecord,
    Unmeasured,
)
from pfa_gate.record.choice import SelectionChoice, SelectionTrial
from pfa_gate.record.search import SearchRecord, SearchTrial

number = st.floats(allow_nan=False, allow_infinity=False)
count = st.integers(0, 10**12)
text = st.text(max_size=20)


def maybe(strategy: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    return st.none() | strategy


def many(strategy: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    return st.lists(strategy, max_size=3).map(tuple)


def names(strategy: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    return st.dictionaries(text, strategy, max_size=3)


outcome = st.sampled_from(["kept", "broken", "not judged"])
sizes = st.builds(Size, count, count, count, maybe(count), maybe(number))
details = st.builds(LayerFinding, text, number, maybe(number), outcome, st.booleans())
findings = st.builds(Finding, text, text, text, outcome, text, count, many(details), many(text))
layers = st.builds(
    LayerRecord,
    **dict.fromkeys(("name", "kind"), text),
    **dict.fromkeys(("filters", "calls", "samples"), count),
    **dict.fromkeys(("kl", "kl_ratio", "kl_ratio_standardised", "kl_stderr", "kl_bias"), maybe(number)),
    **dict.fromkeys(("peak_correlation", "mean_correlation"), maybe(number)),
    inactive=maybe(count),
    eigenvalues=many(number),
    keep=maybe(count),
    kept=maybe(many(count)),
    skipped=maybe(text),
    group=maybe(text),
    correlations=maybe(st.builds(Correlations, count, many(count), text)),
)
exact = st.builds(Exact, maybe(number), st.booleans())
repairs = st.builds(Repair, text, maybe(number), maybe(number), maybe(number), count, maybe(text))
interval = maybe(st.tuples(number, number))
batches = st.builds(BatchTiming, count, number, maybe(number), interval, maybe(number), maybe(number), count)
timings = st.builds(TimingRecord, *[text] * 4, count, many(batches), text, names(text))
compressed = st.builds(
    CompressedRecord,
    count,
    count,
    count,
    maybe(number),
    exact,
    many(text),
    many(st.builds(RecoveryStep, text, maybe(number), number, text, many(repairs))),
    st.sampled_from(["module", "graph"]),
    maybe(count),
    maybe(number),
    maybe(timings),
    maybe(st.builds(RoundedForecast, count, count, names(count))),
)
whole = st.integers(-(10**18), 10**18)
live = st.builds(LiveRecord, text, text, count)
memory = st.builds(MemoryRecord, count, count, maybe(live), many(live), count, many(whole), many(text), whole, count)
demands = st.builds(DemandsRecord, maybe(memory), maybe(memory), maybe(number), maybe(number))
scores = st.builds(Scores, text, maybe(number), maybe(number), maybe(number), interval)
measures = st.sampled_from(["parameters", "bytes", "macs", "latency"])
trials = st.builds(
    SearchTrial, count, count, count, maybe(number), maybe(number), number, number, interval, st.booleans()
)
searches = st.builds(
    SearchRecord, measures, number, st.booleans(), text, count, number, many(trials), st.integers(0, 3), count
)
choices = st.builds(
    SelectionChoice,
    many(st.builds(SelectionTrial, text, number, interval)),
    text,
    st.sampled_from(["divergence", "output_error"]),
    count,
)
recipes = st.builds(
    RecipeRecord, text, maybe(number), names(count), names(text), many(names(count)), maybe(searches), maybe(choices)
)
estimated = maybe(st.builds(Estimated, number, maybe(number), maybe(number)))
answers = st.builds(
    Answers,
    source=st.sampled_from(["evaluation", "probe"]),
    samples=count,
    **dict.fromkeys(("agreement", "divergence", "output_error"), estimated),
    **dict.fromkeys(("changed", "lost", "won", "otherwise"), maybe(count)),
    classes=many(st.builds(ClassAnswers, *[count] * 6, *[maybe(number)] * 3)),
    unlisted=count,
    confusion=many(st.builds(AnswerPair, count, count, count)),
    reasons=names(text),
)
quantized = st.builds(
    QuantizedRecord,
    **dict.fromkeys(("sha256", "runtime", "reason"), text),
    **dict.fromkeys(("file_bytes", "bits", "samples", "parameters", "bytes", "compared", "weight_bits"), count),
    scheme=st.sampled_from(["static", "weights"]),
    forecast=maybe(count),
    scores=maybe(scores),
    answers=maybe(answers),
    floating=names(text),
    layers=many(st.builds(QuantizedLayer, text, text, maybe(number))),
    timing=maybe(timings),
    untimed=text,
)
machines = st.builds(Machine, text, many(text), count, text, many(text))
flips = st.builds(Flip, count, maybe(count), maybe(count), maybe(number), maybe(number))
parity = st.builds(
    Parity,
    **dict.fromkeys(("file", "reference"), text),
    machine=machines,
    source=st.sampled_from(["evaluation", "probe"]),
    **dict.fromkeys(("samples", "flips"), count),
    classes=st.booleans(),
    **dict.fromkeys(("gap", "relative_gap"), maybe(number)),
    tolerance=number,
    flipped=many(flips),
)
factorized = st.builds(
    FactorizedRecord,
    way=st.sampled_from(["energy", "parameters", "macs", "ranks"]),
    target=maybe(number),
    layers=many(
        st.builds(FactorizedLayer, text, text, *[count] * 3, *[st.tuples(count, count)] * 2, maybe(number), number)
    ),
    whole=names(text),
    exact=maybe(st.builds(Exact, maybe(number), st.booleans())),
    tolerance=maybe(number),
    chosen=st.booleans(),
)
anything = st.builds(
    Record,
    factorized=maybe(factorized),
    parity=names(parity),
    answers=maybe(answers),
    quantized=maybe(quantized),
    demands=maybe(demands),
    gate=text,
    config=text,
    versions=names(text),
    seconds=names(number),
    model=sizes,
    probe=st.builds(Probe, count, text),
    layers=many(layers),
    recipe=maybe(recipes),
    compressed=maybe(compressed),
    scores=maybe(scores),
    budgets=many(findings),
    unmeasured=many(st.builds(Unmeasured, text, text)),
    baseline=maybe(
        st.builds(Compared, *[text] * 4, *[many(text)] * 3, names(text), names(names(number)), names(number))
    ),
    files=names(text),
    written=text,
)
