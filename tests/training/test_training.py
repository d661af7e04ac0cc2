"""Training: the loss against slow arithmetic, a run of seconds, going on after a stop, what is written at the end."""

import json
import math
import pickle
from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from dedup.encoder.model import copy_detection_encoder, load_encoder
from dedup.training.command import SHORT_SIDE, main, read_photos, train
from dedup.training.loss import CopiesDataset, contrastive_loss, schedule_batches
from dedup.training.trainer import Recipe, Trainer, TrainingError, fold_batch_norm

TINY = Recipe(embedding_size=8, sizes=((0.0, 32),), epochs=2, batch_size=4, queue=12)  # of 12 photos: 6 steps


@pytest.fixture(scope="module")
def photo_paths(samples_dir):
    return sorted((samples_dir / "photos").iterdir())[:12]


@pytest.fixture(scope="module")
def photos(photo_paths) -> list[np.ndarray]:
    """12 photos of at most 80 px."""
    return [np.asarray(Image.open(path).convert("RGB").resize((80, 60 + i))) for i, path in enumerate(photo_paths)]


@pytest.fixture(scope="module")
def uninterrupted(photos, tmp_path_factory):
    """The folder of a whole tiny run, and its weights by name."""
    folder = tmp_path_factory.mktemp("run")
    encoder = train(photos, TINY, folder, num_workers=0, save_every=2, log_every=1, progress=False)
    return folder, weights_of(encoder)


def weights_of(encoder) -> dict[str, torch.Tensor]:
    return {name: tensor.clone() for name, tensor in encoder.state_dict().items()}


def assert_same(weights: dict[str, torch.Tensor], others: dict[str, torch.Tensor]) -> None:
    assert list(weights) == list(others)
    assert [name for name in weights if not torch.equal(weights[name], others[name])] == []


def rows_of(folder) -> list[dict]:
    return [json.loads(line) for line in (folder / "log.jsonl").read_text("utf-8").splitlines()]


def unit(rows) -> torch.Tensor:
    return nn.functional.normalize(torch.tensor(np.asarray(rows), dtype=torch.float32))


def slow_loss(vectors, photos, queue, queue_photos, temperature, entropy) -> float:
    """The two equations, one vector after the other, in float64."""
    n, info_nce, spread = len(vectors), [], []
    everyone = [*zip(vectors, photos, strict=True), *zip(queue, queue_photos, strict=True)]
    for i in range(n):
        copy = vectors[(i + n // 2) % n]
        others = [vector for vector, photo in everyone if photo != photos[i]]
        wanted = math.exp(vectors[i] @ copy / temperature)
        info_nce.append(-math.log(wanted / (wanted + sum(math.exp(vectors[i] @ v / temperature) for v in others))))
        spread.append(math.log(min(np.linalg.norm(vectors[i] - vector) for vector in others)))
    return float(np.mean(info_nce) - entropy * np.mean(spread))


# two photos at a right angle, each with a copy that has its very vector
RIGHT_ANGLE = unit([[1, 0], [0, 1], [1, 0], [0, 1]]), torch.tensor([0, 1, 0, 1])
NO_QUEUE = torch.empty(0, 2), torch.empty(0, dtype=torch.long)


@pytest.mark.parametrize("temperature", [0.05, 0.5, 1.0])
def test_loss_by_hand(temperature):
    loss = contrastive_loss(*RIGHT_ANGLE, *NO_QUEUE, temperature, entropy=0.0)
    assert loss.item() == pytest.approx(math.log(1 + 2 * math.exp(-1 / temperature)), rel=1e-5, abs=1e-7)
    with_entropy = contrastive_loss(*RIGHT_ANGLE, *NO_QUEUE, temperature, entropy=3.0)
    assert (with_entropy - loss).item() == pytest.approx(-3 * math.log(math.sqrt(2)), rel=1e-5)


@pytest.mark.parametrize("queued", [0, 5])
@pytest.mark.parametrize(("temperature", "entropy"), [(0.05, 5.0), (0.3, 0.0), (1.0, 1.0)])
def test_loss_is_that_of_slow_arithmetic(queued, temperature, entropy):
    rng = np.random.default_rng(queued)
    vectors, queue = unit(rng.normal(size=(8, 3))), unit(rng.normal(size=(5, 3)))[:queued]
    photos, queue_photos = torch.tensor([7, 2, 5, 3] * 2), torch.tensor([2, 9, 9, 4, 5])[:queued]
    fast = contrastive_loss(vectors, photos, queue, queue_photos, temperature, entropy).item()
    arrays = [tensor.double().numpy() for tensor in (vectors, photos, queue, queue_photos)]
    assert fast == pytest.approx(slow_loss(*arrays, temperature, entropy), rel=1e-4)


def test_older_copies_of_a_photo_are_nothing_to_differ_from():
    copies, zeros, other = unit([[1, 0], [1, 0]]), torch.tensor([0, 0]), unit([[0, 1]])
    one = contrastive_loss(copies, zeros, other, torch.tensor([1]), 0.5, 1.0)
    with_older = torch.cat([other, copies[:1]])
    same_photo = contrastive_loss(copies, zeros, with_older, torch.tensor([1, 0]), 0.5, 1.0)
    another_photo = contrastive_loss(copies, zeros, with_older, torch.tensor([1, 2]), 0.5, 1.0)
    assert same_photo.item() == pytest.approx(one.item())
    assert another_photo > one


def test_a_low_temperature_cares_for_the_nearest_other():
    near, far = math.radians(20), math.radians(170)
    rows = [[1, 0], [math.cos(near), math.sin(near)], [math.cos(far), math.sin(far)]]
    photos = torch.tensor([0, 1, 2] * 2)
    pulls = {}
    for temperature in (0.05, 5.0):
        vectors = unit(rows * 2).requires_grad_()
        contrastive_loss(vectors, photos, *NO_QUEUE, temperature, 0.0).backward()
        pulls[temperature] = vectors.grad[1].norm() / vectors.grad[2].norm()
    assert pulls[0.05] > 10 * pulls[5.0]


def test_entropy_pushes_neighbours_apart():
    angle = math.radians(10)
    vectors = unit([[1, 0], [math.cos(angle), math.sin(angle)]] * 2).requires_grad_()
    photos = torch.tensor([0, 1] * 2)
    without = contrastive_loss(vectors, photos, *NO_QUEUE, 1e3, 0.0)  # so warm that InfoNCE hardly pulls
    loss = contrastive_loss(vectors, photos, *NO_QUEUE, 1e3, 1.0)
    assert loss > without
    loss.backward()
    moved = nn.functional.normalize((vectors - 0.05 * vectors.grad).detach())
    assert moved[0] @ moved[1] < (vectors[0] @ vectors[1]).item()


def test_equal_vectors_of_different_photos_leave_the_loss_finite():
    vectors = unit([[1, 0]] * 4).requires_grad_()
    loss = contrastive_loss(vectors, torch.tensor([0, 1] * 2), *NO_QUEUE, 0.05, 5.0)
    loss.backward()
    assert loss.isfinite() and vectors.grad.isfinite().all()


def test_schedule_shows_every_photo_once_an_epoch():
    batches = schedule_batches(photos=12, batch_size=4, epochs=3, sizes=((0.0, 32), (0.5, 64)), seed=0)
    assert [batch.step for batch in batches] == list(range(9))
    for epoch in range(3):
        seen = np.concatenate([batch.indices for batch in batches[3 * epoch : 3 * epoch + 3]])
        assert sorted(seen) == list(range(12))
    assert [batch.size for batch in batches] == [32] * 5 + [64] * 4  # from step 4.5 of 9 on


def test_schedule_leaves_no_short_batch():
    batches = schedule_batches(photos=11, batch_size=4, epochs=2, sizes=((0.0, 32),), seed=0)
    assert [len(batch.indices) for batch in batches] == [4] * 4


@pytest.mark.parametrize("batch_size", [0, 1, 13])
def test_schedule_refuses_batches_that_teach_nothing(batch_size):
    with pytest.raises(ValueError, match=f"12, got {batch_size}"):
        schedule_batches(12, batch_size, 1, ((0.0, 32),), 0)


def test_copies_depend_on_seed_step_and_photo_alone(photos):
    batches = schedule_batches(12, 4, 1, ((0.0, 32),), 0)
    images, indices = CopiesDataset(photos, batches, 0)[1]
    assert images.shape == (8, 3, 32, 32) and images.dtype == torch.uint8
    assert indices.tolist() == batches[1].indices.tolist()
    later = pickle.loads(pickle.dumps(CopiesDataset(photos, batches[1:], 0)))  # as a spawned process gets it
    assert torch.equal(later[0][0], images)
    assert not torch.equal(CopiesDataset(photos, batches, 1)[1][0], images)
    assert not torch.equal(images[:4], images[4:])


def test_a_tiny_run_ends_with_a_finite_loss(uninterrupted):
    rows = rows_of(uninterrupted[0])
    assert [row["step"] for row in rows] == [1, 2, 3, 4, 5, 6]
    assert all(row["of"] == 6 and row["size"] == 32 and math.isfinite(row["loss"]) for row in rows)
    assert [row["seconds"] for row in rows] == sorted(row["seconds"] for row in rows)
    assert all(tensor.isfinite().all() for tensor in uninterrupted[1].values())


def test_a_run_leaves_the_chance_of_others_alone():
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    Trainer(TINY, 6, torch.device("cpu"))
    assert torch.equal(torch.rand(3), expected)


def test_the_loss_falls(photos):
    trainer, batches = Trainer(TINY, 40, torch.device("cpu")), schedule_batches(12, 4, 1, ((0.0, 32),), 0)
    images, indices = CopiesDataset(photos, batches, 0)[0]
    losses = [trainer.learn(images, indices).item() for _ in range(12)]
    assert losses[-1] < losses[0] - 1


@pytest.mark.parametrize("stopped_at", [3, 4])
def test_a_run_that_was_stopped_goes_on_to_the_same_weights(photos, uninterrupted, tmp_path, monkeypatch, stopped_at):
    learn = Trainer.learn

    def stop(trainer, *batch):
        if trainer.step == stopped_at:
            raise KeyboardInterrupt
        return learn(trainer, *batch)

    options = {"num_workers": 0, "save_every": 2, "log_every": 1, "progress": False}
    monkeypatch.setattr(Trainer, "learn", stop)
    with pytest.raises(KeyboardInterrupt):
        train(photos, TINY, tmp_path, **options)
    monkeypatch.undo()
    assert torch.load(tmp_path / "checkpoint.pt", weights_only=True)["step"] == stopped_at // 2 * 2
    assert_same(weights_of(train(photos, TINY, tmp_path, **options)), uninterrupted[1])
    told = [{name: row[name] for name in row if name != "seconds"} for row in rows_of(tmp_path)]
    assert told == [{name: row[name] for name in row if name != "seconds"} for row in rows_of(uninterrupted[0])]


def test_a_run_that_ended_is_not_trained_further(photos, uninterrupted):
    log = (uninterrupted[0] / "log.jsonl").read_bytes()
    again = train(photos, TINY, uninterrupted[0], num_workers=0, progress=False)
    assert_same(weights_of(again), uninterrupted[1])
    assert (uninterrupted[0] / "log.jsonl").read_bytes() == log


def test_the_number_of_processes_changes_nothing(photos, uninterrupted, tmp_path):
    assert_same(weights_of(train(photos, TINY, tmp_path, num_workers=2, progress=False)), uninterrupted[1])


def test_a_second_round_starts_from_the_first(photos, uninterrupted, tmp_path):
    checkpoint = uninterrupted[0] / "checkpoint.pt"
    trainer = Trainer(TINY, 6, torch.device("cpu"))
    trainer.start_from(checkpoint)
    assert trainer.step == 0 and len(trainer.queue) == len(trainer.queue_photos) == TINY.queue
    assert_same(weights_of(trainer.finish()), uninterrupted[1])
    kept = checkpoint.read_bytes()
    second = train(photos, replace(TINY, epochs=1), tmp_path, checkpoint, num_workers=0, progress=False)
    assert not torch.equal(second.embedding.weight, uninterrupted[1]["embedding.weight"])
    assert checkpoint.read_bytes() == kept


def test_a_checkpoint_of_another_recipe_is_refused(photos, uninterrupted):
    with pytest.raises(TrainingError, match="another recipe; choose another output folder"):
        train(photos, replace(TINY, temperature=0.1), uninterrupted[0], num_workers=0, progress=False)


def test_a_checkpoint_of_other_photos_is_refused(photos, uninterrupted):
    with pytest.raises(TrainingError, match="6 steps, not 4"):
        train(photos[:8], TINY, uninterrupted[0], num_workers=0, progress=False)


def test_fewer_photos_than_a_batch_are_refused(photos, tmp_path):
    with pytest.raises(ValueError, match="2 to the number of photos, 3, got 4"):
        train(photos[:3], TINY, tmp_path / "run", num_workers=0)
    assert not (tmp_path / "run").exists()


def test_folding_the_batch_norm_changes_no_vector():
    torch.manual_seed(0)
    encoder = copy_detection_encoder(8)
    centre = nn.BatchNorm1d(8, affine=False)
    centre.running_mean, centre.running_var = torch.randn(8), torch.rand(8) + 0.01
    encoder.embedding = nn.Sequential(encoder.embedding, centre)
    images = torch.randint(0, 256, (3, 3, 48, 48), dtype=torch.uint8)
    with torch.no_grad():
        before = encoder.eval()(images)
        fold_batch_norm(encoder)
        after = encoder(images)
    assert isinstance(encoder.embedding, nn.Linear)
    assert (before - after).abs().max() < 1e-5
    assert (before - before[0]).abs().max() > 1e-3  # vectors that differ, or this test could not fail


def test_photos_of_any_size_are_read(tmp_path, capsys):
    Image.new("RGB", (900, 500), "teal").save(tmp_path / "large.png")
    Image.new("L", (100, 60), 90).save(tmp_path / "small.jpg")
    (tmp_path / "broken.jpg").write_bytes(b"no picture")
    large, small = read_photos([tmp_path / name for name in ("broken.jpg", "large.png", "small.jpg")])
    assert large.shape == (SHORT_SIDE, 403, 3) and small.shape == (60, 100, 3) and small.dtype == np.uint8
    assert "left out: " in (told := capsys.readouterr().err) and "broken.jpg" in told


def test_the_program_writes_an_encoder_that_loads(photo_paths, tmp_path, capsys):
    folder, run = tmp_path / "photos", tmp_path / "run"
    (folder / "more").mkdir(parents=True)
    for number, path in enumerate(photo_paths[:8]):
        with Image.open(path) as image:
            image.convert("RGB").resize((260, 240)).save(folder / ("more" if number % 2 else ".") / f"{number}.jpg")
    command = [str(folder), "--output", str(run), "--epochs", "1", "--batch-size", "4", "--workers", "0"]
    main([*command, "--epsilon", "0.15"])
    assert f"--encoder {run / 'copydet.onnx'}" in capsys.readouterr().out
    encoder = load_encoder(str(run / "copydet.onnx"))
    assert (encoder.epsilon, encoder.image_resize, encoder.embedding_size) == (0.15, 160, 256)
    with torch.no_grad():
        vectors = encoder(torch.randint(0, 256, (2, 3, 160, 160), dtype=torch.uint8))
    assert vectors.isfinite().all()
    main([*command, "--epsilon", "0.15"])  # trained already: written again from the checkpoint
    other = load_encoder(str(run / "copydet.onnx"))
    again, first = weights_of(other), weights_of(encoder)
    trained = [name for name in first if name.startswith("branches")]
    assert trained and list(again) == list(first)
    assert_same({name: again[name] for name in trained}, {name: first[name] for name in trained})
    # Eight photos leave most of the last layer's directions open, and rounding turns them; what is alike stays so.
    images = torch.from_numpy(
        np.stack([np.asarray(Image.open(path).convert("RGB").resize((160, 160))) for path in photo_paths[:8]])
    )
    with torch.no_grad():
        alike = [(vectors @ vectors.T) for each in (encoder, other) for vectors in [each(images.permute(0, 3, 1, 2))]]
    assert (alike[0] - alike[1]).abs().max() < 0.1 < (alike[0] - 1).abs().max()
    with pytest.raises(SystemExit, match="another recipe"):
        main([*command[:3], "--epochs", "2", *command[5:]])
    with pytest.raises(SystemExit, match="2 to the number of photos, 8, got 256"):
        main([str(folder), "--output", str(tmp_path / "other")])


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        (["missing"], "no such folder: missing"),
        ([".", "--batch-size", "0"], "batch-size 2 or more"),
        ([".", "--calibrate", "missing"], "no such folder: missing"),
        ([".", "--epsilon", "3"], "epsilon 0 to 2"),
        ([".", "--batch-size", "1"], "batch-size 2 or more"),
        ([".", "--epochs", "1", "1", "1"], "2 rounds at most"),
        ([".", "--epsilon", "0.1", "--calibrate", "."], "not allowed with"),
    ],
)
def test_the_program_says_what_it_cannot_use(options, reason, capsys):
    with pytest.raises(SystemExit) as stop:
        main(options)
    assert stop.value.code == 2 and reason in capsys.readouterr().err


def test_calibration_measures_the_epsilon_that_is_stored(photo_paths, tmp_path, monkeypatch):
    asked = {}

    class Measured:
        epsilon = 0.07

    def measure(encoder, paths, **options):
        asked.update(paths=paths, **options)
        return Measured

    monkeypatch.setattr("dedup.evaluation.calibration.calibrate_epsilon", measure)
    from dedup.training.command import NETWORK, export

    encoder = copy_detection_encoder(8, network=NETWORK)
    export(encoder, photo_paths[:9], photo_paths[0].parent, 0.1, tmp_path / "trained.onnx")
    assert load_encoder(str(tmp_path / "trained.onnx")).epsilon == 0.07
    assert set(photo_paths) <= set(asked["paths"])
