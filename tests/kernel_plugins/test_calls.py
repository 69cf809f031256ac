"""Registering plugins with the hooks, and asking them."""

from __future__ import annotations

import pytest

from heartwood.contracts.errors import HeartwoodError
from heartwood.plugins.calls import Hooks
from heartwood.plugins.plugin import Plugin, hookimpl, hookspec
from heartwood.plugins.records import State


class Good(Plugin):
    name = "good"

    @hookimpl
    def routes(self, ctx):
        return [ctx]

    @hookimpl
    def tables(self):
        return None


class PagesSpec:
    @hookspec
    def pages(self, ctx, theme):
        raise NotImplementedError


class Shell(Plugin):
    name = "shell"

    @hookimpl
    def hookspecs(self):
        return [PagesSpec]


class Page(Plugin):
    name = "page"

    @hookimpl(optionalhook=True)
    def pages(self, ctx, theme):
        return [f"{ctx} {theme}"]


class Misspelt(Plugin):
    name = "misspelt"

    @hookimpl
    def jobs(self, ctx):
        return ["must never be asked"]

    @hookimpl
    def rotues(self, ctx):
        return []


class WrongArgument(Plugin):
    name = "wrong"

    @hookimpl
    def routes(self, ctx, request):
        return []


def test_one_plugin_is_asked_at_a_time(registered):
    """The value carries its owner; arguments that the hook does not want are left out; silence is None."""
    hooks, (record,) = registered(Good)

    assert ("good", ["context of good"]) == (
        hooks.ask(record, "routes", ctx=record.context).plugin,
        hooks.ask(record, "routes", ctx=record.context).value,
    )
    assert hooks.ask(record, "tables", ctx=record.context).error is None
    assert hooks.ask(record, "jobs", ctx=record.context).value is None


@pytest.mark.parametrize("error", [ValueError("no"), SystemExit(3), BaseException("no")])
def test_what_a_hook_raises_is_returned(registered, error):
    """Errors and exits are values of that plugin; the caller goes on."""

    class Raising(Plugin):
        name = "raising"

        @hookimpl
        def routes(self, ctx):
            raise error

    hooks, (record, good) = registered(Raising, Good)

    assert error is hooks.ask(record, "routes", ctx=None).error
    assert [None] == hooks.ask(good, "routes", ctx=None).value


def test_a_misspelt_hook_fails_that_plugin_only(registered):
    """The sentence has the name that was meant, and none of its hooks stays."""
    hooks, (bad, good) = registered(Misspelt, Good)

    assert "failed(register)" == bad.label
    assert "there is no hook 'rotues'; did you mean 'routes'?" == bad.reason
    assert hooks.ask(bad, "jobs", ctx=None).value is None
    assert State.FOUND is good.state
    assert [1] == hooks.ask(good, "routes", ctx=1).value


def test_a_wrong_argument_fails_that_plugin_only(registered):
    """The sentence names the plugin, the hook and the argument."""
    hooks, (bad, good) = registered(WrongArgument, Good)

    assert "failed(register)" == bad.label
    assert "'wrong'" in bad.reason
    assert "'routes'" in bad.reason
    assert "request" in bad.reason
    assert "\n" not in bad.reason
    assert hooks.ask(bad, "routes", ctx=None).value is None
    assert [1] == hooks.ask(good, "routes", ctx=1).value


def test_hooks_are_plain_functions(registered):
    """A coroutine would never be awaited, and a wrapper would change the answers of others."""

    class Coroutine(Plugin):
        name = "coroutine"

        @hookimpl
        async def routes(self, ctx):
            return []

    class Wrapper(Plugin):
        name = "wrapper"

        @hookimpl(wrapper=True)
        def routes(self, ctx):
            return (yield)

    _, records = registered(Coroutine, Wrapper, Good)

    assert ["failed(register)", "failed(register)", "found"] == [each.label for each in records]
    assert "the hook 'routes' must be a plain function: hooks are not awaited and wrap nothing" == records[0].reason
    assert records[0].reason == records[1].reason


@pytest.mark.parametrize("classes", [(Shell, Page), (Page, Shell)])
def test_a_plugins_hook_is_implemented_by_another_whatever_the_order(registered, classes):
    """Its owner asks it and gets every implementer's answer with the implementer's own context."""
    hooks, records = registered(*classes)

    (answer,) = hooks.ask_all("shell", "pages", {"theme": "dark"}, records)

    assert ("page", ["context of page dark"]) == (answer.plugin, answer.value)
    assert [[], []] == [hooks.unmatched(each) for each in records]


def test_only_the_owner_asks_its_hook(registered):
    """Another plugin is refused, with both names in the sentence."""
    hooks, records = registered(Shell, Page)

    with pytest.raises(HeartwoodError, match="plugin 'page' asked the hook 'pages', which it has not specified"):
        hooks.ask_all("page", "pages", {}, records)


def test_an_error_in_a_contributed_hook_has_its_owner(registered):
    """One implementer's error does not hide the other's answer."""

    class Sick(Plugin):
        name = "sick"

        @hookimpl(optionalhook=True)
        def pages(self, ctx):
            raise LookupError

    hooks, records = registered(Sick, Shell, Page)

    answers = {each.plugin: each for each in hooks.ask_all("shell", "pages", {"theme": "dark"}, records)}

    assert isinstance(answers["sick"].error, LookupError)
    assert ["context of page dark"] == answers["page"].value


def test_unmatched_optional_hooks_are_listed(registered):
    """Where nobody specifies the hook, the plugin works and the hook is named."""
    hooks, (record,) = registered(Page)

    assert State.FOUND is record.state
    assert ["pages"] == hooks.unmatched(record)


def test_the_specifications_of_a_failed_plugin_go_with_it(registered):
    """A plugin that specifies a hook and then fails leaves that hook unmatched, not half there."""

    class BrokenShell(Shell):
        name = "shell"

        @hookimpl
        def rotues(self, ctx):
            return []

    hooks, (shell, page) = registered(BrokenShell, Page)

    assert (State.FAILED, State.FOUND) == (shell.state, page.state)
    assert ["pages"] == hooks.unmatched(page)


def test_a_second_specification_of_a_hook_is_refused(registered):
    """The sentence names who has it; nothing else of the second owner stays either."""

    class MoreSpecs:
        @hookspec
        def posters(self, ctx):
            raise NotImplementedError

    class Rival(Plugin):
        name = "rival"

        @hookimpl
        def hookspecs(self):
            return [MoreSpecs, PagesSpec]

    hooks, (shell, rival, page) = registered(Shell, Rival, Page)

    assert "hookspecs: the hook 'pages' is specified by 'shell' already" == rival.reason
    assert (State.FOUND, State.FAILED, State.FOUND) == (shell.state, rival.state, page.state)
    with pytest.raises(HeartwoodError, match="which it has not specified"):
        hooks.ask_all("rival", "posters", {}, [page])


def test_a_raising_hookspecs_fails_that_plugin_only(registered):
    """``hookspecs`` is asked first, and its error is the plugin's."""

    class Raising(Plugin):
        name = "raising"

        @hookimpl
        def hookspecs(self):
            msg = "no"
            raise RuntimeError(msg)

    hooks, (raising, good) = registered(Raising, Good)

    assert ("failed(register)", "RuntimeError: no") == (raising.label, raising.reason)
    assert [1] == hooks.ask(good, "routes", ctx=1).value


def test_two_kernels_share_nothing(registered):
    """A hook that one hub's plugin specified is unknown in another."""
    hooks, records = registered(Shell, Page)
    others, (page,) = registered(Page)

    assert ["pages"] == others.unmatched(page)
    assert 1 == len(hooks.ask_all("shell", "pages", {"theme": "dark"}, records))
    with pytest.raises(HeartwoodError):
        others.ask_all("shell", "pages", {}, [page])
    assert [] == Hooks().unmatched(page)
