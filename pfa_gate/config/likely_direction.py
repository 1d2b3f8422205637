"""Which way a metric is better, guessed from its name, for the remedy of a config that does not say."""

import re

from pfa_gate.config.field_types import Direction

_WORD = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|[0-9]+")
_LESS = frozenset(
    "loss losses nll ce bce crossentropy entropy kl kld divergence mse rmse msle rmsle mae mape smape mad ppl "
    "perplexity error errors err eer wer cer ter brier ece fid kid lpips distance dist deviation residual risk cost "
    "regret hamming chamfer hausdorff bpc bpd bits".split()
)
_MORE = frozenset(
    "accuracy acc top f auc auroc auprc ap map dice iou miou jaccard precision recall sensitivity specificity psnr "
    "ssim bleu rouge meteor chrf r2 kappa mcc ndcg mrr hit hits score similarity correlation pearson spearman "
    "likelihood agreement".split()
)
_TURNS = frozenset({"neg", "negative", "minus", "inverse"})


def likely_direction(metric: str) -> Direction | None:
    """Which way is better, guessed from the name of a metric; None where the name says nothing.

    Args:
        metric: `accuracy`, `top5` or module:callable.

    Example:
        >>> likely_direction("net.py:mean_loss"), likely_direction("scores:MeanIoU"), likely_direction("net:neg_rmse")
        ('lower', 'higher', 'higher')
        >>> likely_direction("net.py:margin") is None
        True
    """
    name = re.split("[:.]", metric)[-1]
    words = {word.lower() for word in _WORD.findall(name)}
    if _speaks(name, words, _LESS):
        return "higher" if words & _TURNS else "lower"
    return "higher" if _speaks(name, words, _MORE) else None


def _speaks(name: str, words: set[str], known: frozenset[str]) -> bool:
    """Whether a known word is one of the name's, or its end, as in `MeanIoU` and `crossentropy`."""
    return bool(words & known) or name.lower().endswith(tuple(word for word in known if len(word) > 2))
