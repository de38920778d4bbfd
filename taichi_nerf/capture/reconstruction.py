"""Where the cameras stood: features, matches and poses by COLMAP (Schönberger and Frahm 2016), through pycolmap, on the
CPU.

    features     SIFT
    matching     exhaustive   every photo with every other: the surest, and quadratic in their number
                 sequential   with those that follow, and for closed loops with the most similar ones: videos
                 vocabulary   with the most similar ones, by words of a vocabulary built from the photos' own features
    mapping      incremental: a pair, then photo after photo, with bundle adjustment
    refining     all matches triangulated anew from the final poses, and bundle adjustment with a robust loss

The last one is ours: what was triangulated from the first, inexact poses holds those back, and a squared loss lets a
few wrong matches pull.

While COLMAP writes to its database, only COLMAP may be asked for progress, through a connection opened before: Python's
sqlite3 is another library in the same process; each frees the locks of the other, which damages the file.
"""

import contextlib
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from concurrent.futures import TimeoutError as StillRunning
from pathlib import Path
from typing import Literal

import numpy as np

from ..data.colmap_model import load_pycolmap
from ..errors import UserError
from ..progress import Progress

Matching = Literal["exhaustive", "sequential", "vocabulary"]
FEATURES = 4096  # of a photo, at the most
PEAK_THRESHOLD = 0.004  # COLMAP's is 0.0067: it finds too little on smooth things
OVERLAP = 10
SIMILAR = 30
WORDS, SAMPLED_FEATURES = 8192, 330_000
FEWEST_IN_MODEL = 3
ROBUST_PIXELS = 0.25  # reprojection error at which the loss turns from quadratic to linear
_POLL_SECONDS = 0.5


def import_pycolmap():
    """The module. Raises UserError where it is not installed."""
    try:
        pycolmap = load_pycolmap()
    except ImportError:
        raise UserError(
            "taichi-nerf process needs pycolmap, which is not installed; pip install 'taichi-nerf[colmap]'"
        ) from None
    pycolmap.logging.minloglevel = pycolmap.logging.Level.FATAL.value  # else every photo is a line
    return pycolmap


def extract_features(database: Path, images: Path, groups: Sequence[Sequence[str]], *, camera_model: str,
                     single_camera: bool, threads: int, masks: Path | None = None) -> None:
    """Find the features of all images; each of the `groups` of file names shares a camera if `single_camera`.

    `masks` is a folder with a file NAME.png of each image NAME, black where no features are looked for.
    """
    colmap = import_pycolmap()
    options = colmap.FeatureExtractionOptions(num_threads=threads, use_gpu=False)
    options.sift.max_num_features, options.sift.peak_threshold = FEATURES, PEAK_THRESHOLD
    mode = colmap.CameraMode.SINGLE if single_camera else colmap.CameraMode.PER_IMAGE
    reading = colmap.ImageReaderOptions(camera_model=camera_model)
    if masks is not None:
        reading.mask_path = masks
    total = sum(map(len, groups))
    with Progress("features") as line, colmap.Database.open(database) as seen:
        for group in groups:
            _watched(
                lambda token, group=group: colmap.extract_features(
                    database, images, image_names=list(group), camera_mode=mode, extraction_options=options,
                    reader_options=reading, device=colmap.Device.cpu, cancellation_token=token,
                ),
                lambda: line.images(seen.num_images(), total),
            )


def match_features(database: Path, scratch: Path, matching: Matching, *, threads: int) -> None:
    """Match the features of pairs of images, and keep the matches that a motion of the camera explains.

    `scratch` is a folder for the vocabulary.
    """
    colmap = import_pycolmap()
    options = colmap.FeatureMatchingOptions(num_threads=threads, use_gpu=False)
    shared = {"matching_options": options, "device": colmap.Device.cpu}
    with Progress("matching") as line, colmap.Database.open(database) as seen:
        images = seen.num_images()
        if matching == "exhaustive":
            pairs = images * (images - 1) // 2
            match, pairing = colmap.match_exhaustive, colmap.ExhaustivePairingOptions()
        elif matching == "sequential":
            pairs = images * OVERLAP
            match, pairing = colmap.match_sequential, colmap.SequentialPairingOptions()
            pairing.overlap, pairing.quadratic_overlap, pairing.num_threads = OVERLAP, True, threads
            if images > 2 * OVERLAP:
                pairing.loop_detection, pairing.loop_detection_num_images = True, SIMILAR
                pairing.vocab_tree_path = _vocabulary(database, scratch, threads)
        else:
            pairs = images * SIMILAR // 2
            match, pairing = colmap.match_vocabtree, colmap.VocabTreePairingOptions()
            pairing.num_images, pairing.num_threads = SIMILAR, threads
            pairing.vocab_tree_path = _vocabulary(database, scratch, threads)

        def tell():
            done = seen.num_matched_image_pairs()
            line.show(min(done / max(pairs, 1), 0.99), f"{done} pairs")

        _watched(lambda token: match(database, pairing_options=pairing, cancellation_token=token, **shared), tell)


def map_images(database: Path, images: Path, folder: Path, *, threads: int) -> list:
    """The reconstructions (pycolmap's), the one with most images first; `folder` takes what COLMAP writes."""
    colmap = import_pycolmap()
    colmap.set_random_seed(0)
    options = colmap.IncrementalPipelineOptions(num_threads=threads, min_model_size=FEWEST_IN_MODEL, random_seed=0)
    with colmap.Database.open(database) as opened:
        total, tries = opened.num_images(), [2]
    folder.mkdir()
    with Progress("mapping") as line:

        def count():  # some fail, and are tried again
            tries[0] += 1

        found = _watched(
            lambda token: colmap.incremental_mapping(database, images, folder, options=options,
                                                     next_image_callback=count, cancellation_token=token),
            lambda: line.show(min(tries[0] / total, 0.99), f"{tries[0]} tries to place {total} images"),
        )
    return sorted(found.values(), key=lambda model: (-model.num_reg_images(), model.compute_mean_reprojection_error()))


def refine(database: Path, images: Path, scratch: Path, model, *, threads: int):
    """The model with its points triangulated anew, and everything adjusted to them."""
    colmap = import_pycolmap()
    scratch.mkdir()
    with Progress("refining") as line:
        line.wait(f"{model.num_reg_images()} images")
        before = model.num_points3D()
        copy = colmap.Reconstruction(model)
        refined = _watched(
            lambda token: colmap.triangulate_points(copy, database, images, scratch, clear_points=True), lambda: None
        )
        if refined.num_points3D() < 0.5 * before:  # it would rest on less than the model that is there
            return model
        options, config = colmap.BundleAdjustmentOptions(), colmap.BundleAdjustmentConfig()
        options.print_summary = False
        options.ceres.loss_function_type = colmap.LossFunctionType.SOFT_L1
        options.ceres.loss_function_scale = ROBUST_PIXELS
        options.ceres.solver_options.num_threads = threads
        for image_id in refined.reg_image_ids():
            config.add_image(image_id)
        config.fix_gauge(colmap.BundleAdjustmentGauge.TWO_CAMS_FROM_WORLD)
        adjuster = colmap.create_default_bundle_adjuster(options, config, refined)
        _watched(lambda token: adjuster.solve(), lambda: None)
        refined.update_point_3d_errors()
    return refined


def _vocabulary(database: Path, scratch: Path, threads: int) -> Path:
    """A file with visual words: k-means clusters of the features themselves, so that nothing is downloaded."""
    colmap = import_pycolmap()
    with colmap.Database.open(database) as opened:
        every = [opened.read_descriptors(image.image_id).data for image in opened.read_all_images()]
    features = np.concatenate(every)
    if len(features) > SAMPLED_FEATURES:
        features = features[np.random.default_rng(0).choice(len(features), SAMPLED_FEATURES, replace=False)]
    sample = colmap.FeatureDescriptorsFloat()
    sample.type, sample.data = colmap.FeatureExtractorType.SIFT, features.astype(np.float32)
    index = colmap.VisualIndex.create(features.shape[1], 64)
    options = colmap.VisualIndex.BuildOptions()
    options.num_visual_words = max(min(WORDS, len(features) // 40), 64)
    options.num_iterations, options.num_rounds, options.num_threads = 11, 1, threads
    index.build(options, sample)
    index.write(scratch / "vocabulary.bin")
    return scratch / "vocabulary.bin"


def _watched(work: Callable, tell: Callable[[], None]):
    """The result of `work(cancellation_token)` in a thread; meanwhile `tell()` every half second.

    An interruption stops the work before it goes on its way.
    """
    token = import_pycolmap().CancellationToken()
    with ThreadPoolExecutor(1) as pool:
        future: Future = pool.submit(work, token)
        try:
            while True:
                with contextlib.suppress(StillRunning):
                    return future.result(timeout=_POLL_SECONDS)
                if future.done():  # it raised such an error itself
                    return future.result()
                tell()
        except BaseException:  # an interruption, or a signal that was made one
            token.cancel()
            raise
