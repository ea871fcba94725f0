"""Names of the page's components and stores, in one place, so that Python, JavaScript and tests agree."""

from __future__ import annotations

LOCATION = "location"
CONTENT = "content"
NAVIGATION = "navigation"

PICTURE = "picture"
"""Store (session): the PictureRecord being looked at, or null."""
STAGE = "stage"
"""Store (session): ``choose`` shows the first visit, ``work`` the rail and the grid."""
FURTHER = "further"
"""Store (session): PictureRecords that methods for several pictures look at together with the first one."""
MODELS = "models"
"""Store (local): names of the chosen models, in order."""
METHODS = "methods"
"""Store (local): ``{"chosen": [name], "params": {name: {...}}, "seeds": {name: int}}``."""
TARGETS = "targets"
"""Store (session): model name -> class index somebody asked for."""
RUNS = "runs"
"""Store (session): signature of a request -> run key."""
PREDICTIONS = "predictions"
"""Store (session): ``{"picture": id, "models": {name: RunView in short}}``."""
CAPABILITIES = "capabilities"
"""Store (memory): ``{"cards": {name: ModelCard}, "can": {model: {method: Capability}}, "methods": {...}}``."""
STRUCTURE = "structure"
"""Store (memory): rows, columns and cells of the grid; the server draws the grid from it."""
CATALOGUE = "catalogue"
"""Store (memory): a counter, raised when what is on offer may have changed."""

INSPECT = "inspect"
HERO = "hero"
RAIL_PICTURE = "rail-picture"
FURTHER_LIST = "further-list"
MODEL_SEARCH = "model-search"
MODEL_COUNT = "model-count"
CHOSEN_MODELS = "chosen-models"
METHOD_LIST = "method-list"
METHOD_COUNT = "method-count"
GRID = "grid"
PHONE_BAR = "phone-bar"
FOOTER_TEXT = "footer-text"
FOOTER_LEFT = "footer-left"
FOOTER_BAR = "footer-bar"
NOTICE = "notice"
CODE = "code"
CODE_TEXT = "code-text"
CODE_REQUEST = "code-request"
"""Store (memory): the requests whose code is wanted."""
SHARE_DIALOG = "share-dialog"
SHARE_TITLE = "share-title"
SHARE_DAYS = "share-days"
SHARE_ANSWER = "share-answer"
SHARE_BUTTON = "share-button"
WORKERS = "workers"

LOOK_MODE = "look-mode"
LOOK_OPACITY = "look-opacity"
LOOK_PALETTE = "look-palette"
LOOK_RANGE = "look-range"
LOOK_LOW = "look-low"
LOOK_HIGH = "look-high"
LOOK_SHOW = "look-show"
LOOK_VALUE = "look-value"
LOOK_TOP = "look-top"
LOOK_SMOOTH = "look-smooth"
LOOK_CONTOUR = "look-contour"
LOOK_LINKED = "look-linked"
LOOK_MATCH = "look-match"
LOOKS = "looks"
"""Store (local): what the tool row says, as ``window.vitrine.viewer.setLooks`` takes it."""


COMPARE_TEXT = "compare-text"
COMPARE_BODY = "compare-body"
COMPARE_RUN = "compare-run"
"""Store: the finished comparison of all maps, as ``{"key"}``."""


def cell(model: str, method: str) -> dict[str, str]:
    """Returns the id of what a cell of the grid holds (drawn by the server)."""
    return {"type": "cell", "model": model, "method": method}


def cell_run(model: str, method: str) -> dict[str, str]:
    """Returns the id of the store that says how a cell stands."""
    return {"type": "cell-run", "model": model, "method": method}


def cell_text(model: str, method: str) -> dict[str, str]:
    """Returns the id of the line "Running, 212 / 420 passes" of a cell."""
    return {"type": "cell-text", "model": model, "method": method}


def cell_left(model: str, method: str) -> dict[str, str]:
    """Returns the id of the time left in a cell."""
    return {"type": "cell-left", "model": model, "method": method}


def cell_bar(model: str, method: str) -> dict[str, str]:
    """Returns the id of the progress bar of a cell."""
    return {"type": "cell-bar", "model": model, "method": method}


def prediction(model: str) -> dict[str, str]:
    """Returns the id of the top classes of a chosen model, in the rail."""
    return {"type": "prediction", "model": model}


def row_target(model: str) -> dict[str, str]:
    """Returns the id of "predicted = expected" and the target chip in a row's head."""
    return {"type": "row-target", "model": model}


def method_check(method: str) -> dict[str, str]:
    """Returns the id of a method's check box."""
    return {"type": "method-check", "method": method}


def method_reason(method: str) -> dict[str, str]:
    """Returns the id of the sentence that says why a method cannot run."""
    return {"type": "method-reason", "method": method}


def method_box(method: str) -> dict[str, str]:
    """Returns the id of a method card."""
    return {"type": "method-box", "method": method}


def preset(method: str) -> dict[str, str]:
    """Returns the id of a method's presets."""
    return {"type": "preset", "method": method}


def param(method: str, name: str) -> dict[str, str]:
    """Returns the id of a control with a ``value``."""
    return {"type": "param", "method": method, "name": name}


def param_switch(method: str, name: str) -> dict[str, str]:
    """Returns the id of a control that is on or off (``checked``)."""
    return {"type": "param-switch", "method": method, "name": name}


def details_head(run: str, share: str = "") -> dict[str, str]:
    """Returns the id of the line that unfolds a result's tables."""
    return {"type": "details-head", "run": run, "share": share}


def details_body(run: str, share: str = "") -> dict[str, str]:
    """Returns the id of the place for a result's tables."""
    return {"type": "details-body", "run": run, "share": share}


def trust(run: str) -> dict[str, str]:
    """Returns the id of the place under a map that says whether it beats chance."""
    return {"type": "trust", "run": run}


def trust_run(run: str) -> dict[str, str]:
    """Returns the id of the store with the run of the check."""
    return {"type": "trust-run", "run": run}


def trust_text(run: str) -> dict[str, str]:
    """Returns the id of the words beside the link that starts the check."""
    return {"type": "trust-text", "run": run}


def panel_control(kind: str, run: str) -> dict[str, str]:
    """Returns the id of a control inside a result's panel (``panel-class``, ``panel-groups``, ...)."""
    return {"type": f"panel-{kind}", "run": run}
