from __future__ import annotations

import inspect
import subprocess
import sys

import pytest
from dash import Dash, Input, Output, no_update
from fastapi import FastAPI

from frontend.api import ApiClient
from frontend.callbacks import on
from frontend.components.chart import chart
from frontend.server import make_page
from tests.fakes_page import every, find, props


@pytest.fixture(scope="module")
def page() -> Dash:
    api = FastAPI()
    made = make_page(api, ApiClient(api))
    # Dash moves what was registered into the application with the first request; this is what that does.
    made._setup_server()
    return made


def test_no_callback_can_block_the_event_loop(page: Dash) -> None:
    assert page.callback_map
    on_server = {name: entry["callback"] for name, entry in page.callback_map.items() if "callback" in entry}
    assert on_server
    blocking = [name for name, callback in on_server.items() if not inspect.iscoroutinefunction(callback)]
    assert blocking == []


def test_every_clientside_callback_is_a_named_function_and_no_inline_script(page: Dash) -> None:
    browser = [entry["clientside_function"] for entry in page._callback_list if entry["clientside_function"]]
    assert browser
    assert [one for one in browser if one["namespace"].startswith("_dashprivate")] == []
    assert page._inline_scripts == []


def test_a_function_that_would_block_is_refused() -> None:
    with pytest.raises(TypeError, match="is not async"):
        on(Dash("other", server=FastAPI()), Output("a", "children"), Input("b", "n_clicks"))(lambda _: 1)


def test_no_page_pushes_files_through_a_callback(page: Dash) -> None:
    assert find(page.layout, lambda one: type(one).__name__ == "Upload") == []


def test_charts_never_offer_to_send_data_to_a_cloud() -> None:
    graph = next(one for one in every(chart({"data": []}, label="Empty")) if type(one).__name__ == "Graph")
    config = props(graph)["config"]
    assert (config["showSendToCloud"], config["plotlyServerURL"], config["displaylogo"]) == (False, "", False)


def test_charts_are_made_in_one_place_only() -> None:
    from pathlib import Path

    import frontend

    root = Path(frontend.__file__).parent
    users = [file.name for file in root.rglob("*.py") if "dcc.Graph(" in file.read_text(encoding="utf-8")]
    assert users == ["chart.py"]


def test_the_page_imports_neither_torch_nor_workers_nor_models() -> None:
    code = (
        "import sys, pkgutil, importlib, frontend, frontend.server\n"
        "for one in pkgutil.walk_packages(frontend.__path__, 'frontend.'): importlib.import_module(one.name)\n"
        "print(sorted({name.split('.')[0] for name in sys.modules} & {'torch', 'timm', 'workers', 'models'}))"
    )
    answer = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=120)
    assert answer.stdout.strip() == "[]"


async def test_a_cell_whose_store_was_emptied_meanwhile_stays_as_it_is(page: Dash) -> None:
    (show_cell,) = [
        entry["callback"].__wrapped__
        for name, entry in page.callback_map.items()
        if '"type":"cell"' in name and "callback" in entry
    ]
    assert await show_cell(None) is no_update
