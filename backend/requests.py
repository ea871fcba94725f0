"""From what a person asks to the exact question that is computed, or to the reason why it cannot be."""

from __future__ import annotations

from typing import Any

from backend.catalogue import CatalogueReader
from backend.contract.artifacts import ArtifactStore
from backend.contract.params import fill_params, resolve_explainer
from backend.contract.problems import Problem, ProblemCode, ProblemError, make_problem
from backend.contract.schemas import MethodCard, ModelCard, RunRequest, RunSpec


class RequestCompleter:
    """Fills in what a request leaves open: weights, preprocessing, method version, defaults.

    Args:
        catalogue: What the workers offer.
        store: Where pictures are.
    """

    def __init__(self, catalogue: CatalogueReader, store: ArtifactStore) -> None:
        self._catalogue = catalogue
        self._store = store

    def complete(self, request: RunRequest) -> RunSpec:
        """Returns the question in full; requests that mean the same become equal.

        Raises:
            ProblemError: Why the question cannot be asked.
        """
        method = self._catalogue.method(request.method)
        model = self._catalogue.model(request.model)
        obstacle = self.obstacle(model, method)
        if obstacle is not None:
            raise ProblemError(obstacle.code, obstacle.message)
        if request.more_image_ids and not method.several_pictures:
            raise ProblemError(ProblemCode.REQUEST_INVALID, f"{method.title} looks at one picture at a time.")
        image_ids = (request.image_id, *request.more_image_ids)
        for image_id in image_ids:
            self._validate_picture(image_id)
        return make_spec(request, image_ids, model, method)

    def prediction(self, image_id: str, model_name: str) -> tuple[RunSpec, Problem | None]:
        """Returns the question what a model answers for a picture, and why it cannot be asked if so.

        Raises:
            ProblemError: ``model_unknown``, ``picture_gone``, ``not_supported`` or ``no_worker``.
        """
        model = self._catalogue.model(model_name)
        method = self._catalogue.prediction_method(model)
        self._validate_picture(image_id)
        request = RunRequest(image_id=image_id, model=model_name, method=method.name)
        return make_spec(request, (image_id,), model, method), self.obstacle(model, method)

    def obstacle(self, model: ModelCard, method: MethodCard) -> Problem | None:
        """Returns why the method cannot run on the model now, or ``None``."""
        if model.problem is not None:
            return model.problem
        if not model.described:
            return make_problem(
                ProblemCode.MODEL_NOT_READY,
                f"A worker has to read what {model.title} offers first. Choose the model, then ask again in a moment.",
            )
        verdict = self._catalogue.capability(model.name, method.name)
        if verdict is None or verdict.possible:
            return None
        return make_problem(ProblemCode.NOT_SUPPORTED, f"{verdict.reason} {verdict.remedy}".strip())

    def _validate_picture(self, image_id: str) -> None:
        if self._store.get_picture_record(image_id) is None:
            raise ProblemError(
                ProblemCode.PICTURE_GONE, "This picture is no longer here. Choose it again; it is then kept for a week."
            )


def make_spec(request: RunRequest, image_ids: tuple[str, ...], model: ModelCard, method: MethodCard) -> RunSpec:
    """Returns the full question; target and seed are dropped where the method has none.

    Raises:
        ProblemError: ``params_invalid`` or ``target_unknown``.
    """
    target = request.target if method.has_target else None
    if target is not None and model.class_count is not None and target >= model.class_count:
        raise ProblemError(
            ProblemCode.TARGET_UNKNOWN,
            f"{model.title} has {model.class_count} classes, numbered from 0; there is no class {target}.",
        )
    params = fill_params(method.params_schema, request.params)
    validate_params(method.params_schema, params)
    params = resolve_explainer(method.params_schema, params, method.name, model.explainers)
    return RunSpec(
        image_ids=image_ids,
        model=model.name,
        weights=model.weights,
        preprocessing=model.preprocessing,
        method=method.name,
        method_version=method.version,
        params=params,
        target=target,
        seed=request.seed if method.has_seed else 0,
    )


def validate_params(schema: dict[str, Any], params: dict[str, Any]) -> None:
    """Checks settings against a JSON schema.

    Raises:
        ProblemError: ``params_invalid``, naming the setting, its value and what is allowed.
    """
    from jsonschema import Draft202012Validator  # imported late: it takes longer to load than the rest of this file
    from jsonschema.exceptions import best_match

    error = best_match(Draft202012Validator(schema).iter_errors(params))
    if error is not None:
        raise ProblemError(ProblemCode.PARAMS_INVALID, _to_sentence(schema, error))


def _to_sentence(schema: dict[str, Any], error: Any) -> str:
    path = [part for part in error.absolute_path if isinstance(part, str)]
    name = path[0] if path else ""
    title = schema.get("properties", {}).get(name, {}).get("title", name)
    value, bound = error.instance, error.validator_value
    words = {
        "maximum": f"must be at most {bound}",
        "exclusiveMaximum": f"must be below {bound}",
        "minimum": f"must be at least {bound}",
        "exclusiveMinimum": f"must be above {bound}",
        "enum": f"must be one of {', '.join(map(str, bound)) if error.validator == 'enum' else ''}",
        "const": f"must be {bound}",
        "type": f"must be of the type {bound}",
        "minItems": f"needs at least {bound} entries",
        "maxItems": f"has at most {bound} entries",
        "minLength": f"needs at least {bound} characters",
        "maxLength": f"has at most {bound} characters",
    }.get(error.validator, "does not have the form that is asked for")
    shown = repr(value) if len(repr(value)) <= 60 else "what was given"
    return f"The setting {title!r} {words}; it is {shown}."
