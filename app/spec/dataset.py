"""What a dataset is asked to be, and what a ready one tells of itself."""

from typing import Annotated, Any, Literal, Self

from pydantic import BeforeValidator, Field, StringConstraints, model_validator
from pydantic_core import PydanticCustomError

from app.spec.base import Spec

SplitName = Literal["train", "validation", "test"]
SPLITS: tuple[SplitName, ...] = ("train", "validation", "test")

# One definition of every default and bound that a reader or a test may need to name.
DEFAULT_FEATURES = "image"
VALIDATION_FRACTION = 0.1
TEST_FRACTION = 0.2
MAX_CLASSES = 100_000

FileId = Annotated[str, StringConstraints(pattern=r"^file_[A-Za-z0-9]+$", max_length=64)]
# No control characters: NUL does not survive the way to a database, the others no log.
Name = Annotated[
    str, StringConstraints(min_length=1, max_length=200, pattern=r"^[^\x00-\x1f\x7f]+$")
]
Fraction = Annotated[float, Field(ge=0.0, le=0.5)]
Format = Literal["npz", "parquet", "csv", "jsonl", "images"]
"""`images` is a ZIP of a folder with a folder for each class, or for each split and class."""
TeacherOutputs = Literal["logits", "probabilities"]


class BuiltinSource(Spec):
    """A data set that comes with the service's own libraries."""

    kind: Literal["builtin"]
    name: Literal["digits"]
    """`digits`: 1,797 handwritten digits of 8x8 pixels with values 0 to 16 (scikit-learn)."""


class SplitFiles(Spec):
    """Uploaded files by split; the files of one split are read one after another."""

    train: tuple[FileId, ...] = Field(min_length=1, max_length=1000)
    validation: tuple[FileId, ...] = Field(default=(), max_length=1000)
    test: tuple[FileId, ...] = Field(default=(), max_length=1000)


class FileSource(Spec):
    """Uploaded files: one for everything in `file`, or some for each split in `files`."""

    kind: Literal["file"]
    file: FileId | None = None
    files: SplitFiles | None = None
    format: Format | None = None
    """Read from the first bytes of each file when null."""

    @model_validator(mode="after")
    def _one_of_two(self) -> Self:
        if (self.file is None) == (self.files is None):
            raise ValueError("give exactly one of file and files")
        return self


class UriSource(Spec):
    """One file elsewhere, with everything in it, which a worker fetches once."""

    kind: Literal["uri"]
    uri: str = Field(min_length=1, max_length=2048)
    """https://, http://, s3://, gs:// or az://, from the places that this service reads."""
    sha256: Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")] | None = None
    """What its bytes must hash to; null takes them as they come."""
    format: Format | None = None
    """Read from its first bytes when null."""


def _no_hub(source: Any) -> Any:
    if isinstance(source, dict) and source.get("kind") == "hub":
        raise PydanticCustomError(
            "hub_not_read",
            "This service reads from no hub. Upload the data set's Parquet files, or name one by "
            "uri where the service's owner allows it.",
        )
    return source


Source = Annotated[
    Annotated[BuiltinSource | FileSource | UriSource, Field(discriminator="kind")],
    BeforeValidator(_no_hub),
]


class Splits(Spec):
    """How much to cut for a split that the source does not bring; 0 cuts nothing."""

    validation: Fraction = VALIDATION_FRACTION
    """Fraction of train, after test was cut from it."""
    test: Fraction = TEST_FRACTION
    """Fraction of all rows that are not already a validation split."""


class Normalize(Spec):
    """Given constants, in scaled units (images in [0, 1], 2-D data as it is)."""

    mean: tuple[float, ...] = Field(min_length=1, max_length=MAX_CLASSES)
    std: tuple[Annotated[float, Field(gt=0.0)], ...] = Field(min_length=1, max_length=MAX_CLASSES)
    """As many as `mean`: one for all, or one per channel (images) or feature (2-D)."""

    @model_validator(mode="after")
    def _same_length(self) -> Self:
        if len(self.mean) != len(self.std):
            raise ValueError("mean and std must have the same length")
        return self


class DatasetSpec(Spec):
    """The body of `POST /datasets`."""

    name: Name
    source: Source
    features: Name | Annotated[tuple[Name, ...], Field(min_length=1, max_length=20_000)] | None = (
        DEFAULT_FEATURES
    )
    """A column with images or lists, or several numeric columns. When it is null, or left at its
    default in a file without such a column: all numeric columns but label and split. The arrays
    of an npz are always named `x` and `y`."""
    label: Name | None = "label"
    """Null for an unlabelled transfer set: labels in the file are then left unread."""
    splits: Splits = Splits()
    normalize: Literal["auto", "none"] | Normalize = "auto"
    """`auto`: mean and std of the train split, per channel of images, per feature of 2-D data."""
    split_seed: int = Field(default=0, ge=0, lt=2**63)
    class_names: tuple[Name, ...] | None = Field(default=None, min_length=1, max_length=MAX_CLASSES)
    """In the order of the classes. Labels that are text are looked up here; without it their
    sorted values are the classes."""
    license: Name | None = None
    """Under which the data may be used: an SPDX identifier or a few words, told in the bundle of
    every student."""

    @model_validator(mode="after")
    def _no_repeats(self) -> Self:
        for field in ("features", "class_names"):
            names = getattr(self, field)
            if isinstance(names, tuple) and len(set(names)) != len(names):
                raise ValueError(f"{field} names something twice")
        return self


class Preprocess(Spec):
    """Stored value to network input: `(x * scale - mean) / std`.

    `mean` and `std` have length 1, or one value per channel (images) or feature (2-D data).
    """

    scale: float
    mean: tuple[float, ...]
    std: tuple[float, ...]


class PreviewRow(Spec):
    """A row of the train split: an image, or the first values of a 2-D row."""

    label: int | None = None
    image: str | None = None
    """A small PNG as a `data:` URI."""
    values: tuple[float, ...] | None = None


class DatasetFacts(Spec):
    """What a ready dataset tells of itself."""

    rows: dict[SplitName, int]
    classes: int | None
    """Null when there are neither labels nor teacher outputs nor class names."""
    class_names: tuple[str, ...] | None
    feature_shape: tuple[int, ...]
    """(D,), (H, W) or (H, W, C)."""
    feature_dtype: Literal["uint8", "uint16", "float32"]
    class_balance: dict[SplitName, tuple[int, ...]] | None
    """Rows per class and split; null without labels."""
    preprocess: Preprocess
    labelled: bool
    cut: tuple[SplitName, ...]
    """The splits that were cut from train by `split_seed`."""
    teacher_outputs: TeacherOutputs | None
    sha256: str
    bytes: int
    preview: tuple[PreviewRow, ...]
    license: str | None = None
    """As it was given; of a builtin data set, its own."""
    source_sha256: str | None = None
    """Of what a uri gave, before it was prepared."""
