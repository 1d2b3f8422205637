"""What another package may add: a model loader, a metric, a selection.

A package names a module under the entry point group `pfa_gate`; there it implements hooks, marked with `hookimpl`. A
hook is asked by name for what pfa_gate does not know itself. A section of the report is a hook of pytest: see `plugin`.
"""

from collections.abc import Callable
from typing import Any

import pluggy

from pfa_gate.errors import ConfigError

GROUP = "pfa_gate"
hookspec = pluggy.HookspecMarker(GROUP)
hookimpl = pluggy.HookimplMarker(GROUP)


class Hooks:
    """The hooks; the first implementation that gives something is taken."""

    @hookspec(firstresult=True)
    def pfa_gate_model_loader(self, factory: str) -> Callable[..., Any] | None:
        """Give what builds the model that `model.factory` names, or None to leave it to others.

        Asked where `factory` names no callable that can be imported. What is given is called with `model.arguments` and
        returns a torch.nn.Module.

        Example, for `factory: acme:resnet`::

            @hookimpl
            def pfa_gate_model_loader(factory):
                registry, _, name = factory.partition(":")
                return functools.partial(load_registered, name) if registry == "acme" else None
        """

    @hookspec(firstresult=True)
    def pfa_gate_metric(self, name: str) -> Callable[..., float] | None:
        """Give the metric that `evaluation.metric` names, or None to leave it to others.

        Asked where `name` names no callable that can be imported. What is given is called as metric(model, batches) and
        returns a float; `evaluation.direction` says which way is better.

        Example, for `metric: acme:margin`::

            @hookimpl
            def pfa_gate_metric(name):
                return margin if name == "acme:margin" else None
        """

    @hookspec(firstresult=True)
    def pfa_gate_selection(self, name: str) -> Callable[..., Any] | None:
        """Give the selection of this name, or None to leave it to others.

        Asked where `selection` is none of pfa_gate's own. What is given is called with a `compress.select.Evidence` and
        returns, for each of its groups, the order in which filters are removed: {name: int64 [filters]}.

        Example, for `selection: last`::

            @hookimpl
            def pfa_gate_selection(name):
                return last_filters_first if name == "last" else None
        """


def installed() -> pluggy.PluginManager:
    """Load the packages that are installed under the entry point group `pfa_gate`.

    Raises:
        ConfigError: one of them does not load.

    Example:
        >>> installed().hook.pfa_gate_metric(name="no such metric") is None
        True
    """
    manager = pluggy.PluginManager(GROUP)
    manager.add_hookspecs(Hooks)
    try:
        manager.load_setuptools_entrypoints(GROUP)
        manager.check_pending()
    except KeyboardInterrupt:
        raise
    except BaseException as error:  # another package may also call pytest.skip or sys.exit while it is imported
        fact = f"A package under the entry points {GROUP} does not load: {type(error).__name__}: {error}."
        raise ConfigError(fact, remedy="Repair or uninstall it.") from error
    return manager
