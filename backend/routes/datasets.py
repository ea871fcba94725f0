"""Data sets to train on: what there is, upload an archive, remove one."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, File, Form, Path, UploadFile

from backend.contract.problems import ProblemCode
from backend.datasets import DatasetCard
from backend.dependencies import ServicesDep
from backend.errors import problem_responses

router = APIRouter(tags=["Data sets"])

DatasetName = Annotated[str, Path(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,99}$", description="Name of a data set.")]
_UNKNOWN = problem_responses(ProblemCode.NOT_FOUND)
_UPLOAD = problem_responses(
    ProblemCode.ARCHIVE_REFUSED,
    ProblemCode.DATA_UNUSABLE,
    ProblemCode.PICTURE_TOO_LARGE,
    ProblemCode.PICTURE_FORMAT,
    ProblemCode.PICTURE_UNREADABLE,
    ProblemCode.PICTURE_TOO_SMALL,
    ProblemCode.STORE_FULL,
)


@router.get("/datasets", summary="All data sets")
def datasets(services: ServicesDep) -> list[DatasetCard]:
    """Returns the built-in world and the folders of the data directory, those that are being unpacked included."""
    return services.datasets.cards()


@router.get("/datasets/{name}", summary="One data set", responses=_UNKNOWN)
def dataset(name: DatasetName, services: ServicesDep) -> DatasetCard:
    """Returns its classes and numbers of pictures; while it is unpacked, how far that is."""
    return services.datasets.card(name)


@router.post("/datasets", status_code=201, summary="Upload a data set", responses=_UPLOAD)
def upload(
    file: Annotated[
        UploadFile,
        File(description="A zip: one folder for each class, or `train`, `val` and `test` with such folders."),
    ],
    services: ServicesDep,
    name: Annotated[str, Form(max_length=100, description="What to call it; by default the file's name.")] = "",
) -> DatasetCard:
    """Unpacks the archive and looks at every picture.

    Links, names that lead elsewhere, bombs and files that are no pictures are refused, and after a refusal nothing is
    left. While it is unpacked, the data set is in the list with the state `unpacking`.
    """
    return services.datasets.add(file.file, name.strip() or file.filename or "pictures")


@router.delete(
    "/datasets/{name}",
    status_code=204,
    summary="Remove a data set",
    responses=problem_responses(ProblemCode.NOT_FOUND, ProblemCode.FORBIDDEN),
)
def delete(name: DatasetName, services: ServicesDep) -> None:
    """Removes a data set that was uploaded here; explainers that learned from it stay."""
    services.datasets.delete(name)
