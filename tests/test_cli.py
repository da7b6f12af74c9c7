"""The command: what it prints, what it leaves behind, and how it fails."""

import os
import re
import signal
import subprocess
import sys

import fastnn as fn
import numpy as np
import pytest
from fastnn import nn
from fastnn.cli import main
from fastnn.cli.train import confusion_table
from fastnn.data import Standardize, load_digits


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A model of a few seconds, and what was printed meanwhile."""
    path = tmp_path_factory.mktemp("trained") / "digits.safetensors"
    command = [sys.executable, "-m", "fastnn", "train", "--epochs", "4", "--out", str(path)]
    return path, subprocess.run(command, check=True, capture_output=True, text=True).stdout


def run(*arguments):
    return main([str(argument) for argument in arguments])


class TestTrain:
    def test_the_demo_learns_digits(self, folder, capsys):
        """The default command: at least 98 % of digits never seen before."""
        assert run("train") == 0
        text = capsys.readouterr().out
        accuracy = re.search(r"test accuracy ([\d.]+) \((\d+) of 359\)", text)
        assert float(accuracy[1]) >= 0.98
        model = fn.load_model(folder / "digits.safetensors")
        x, y = load_digits()[1].arrays
        outputs = model(fn.from_numpy(model.preprocessing(x))).detach().numpy()
        assert (outputs.argmax(1) == y).sum() == int(accuracy[2])
        assert model.classes == tuple("0123456789")

    def test_prints_epochs_and_confusion(self, trained):
        _, text = trained
        assert len(re.findall(r"^epoch \d+/4 .*accuracy", text, re.MULTILINE)) == 4
        table = re.search(r"taken for\n(.*?)\n\n", text, re.DOTALL)[1].splitlines()[1:]
        counts = [[0 if cell == "." else int(cell) for cell in line.split()[1:]] for line in table]
        assert np.sum(counts) == 359
        assert f"({np.trace(counts)} of 359)" in text

    def test_a_seed_repeats_a_run(self, folder):
        for seed, out in ((1, "a"), (1, "b"), (2, "c")):
            options = ["--model", "mlp", "--epochs", 1, "--seed", seed, "--out", out]
            assert run("train", *options, "--threads", 1 + (out == "b")) == 0
        a, b, c = (fn.load(name)["1.0.weight"].numpy() for name in "abc")
        np.testing.assert_array_equal(a, b)
        assert (a != c).any()

    @pytest.mark.parametrize("options", [["--model", "linear"], ["--optimizer", "adam", "--lr", "1e-3"]])
    def test_options(self, folder, capsys, options):
        assert run("train", *options, "--epochs", 2, "--batch-size", 32) == 0
        assert float(re.search(r"test accuracy ([\d.]+)", capsys.readouterr().out)[1]) > 0.8

    @pytest.mark.parametrize(
        ("called", "shown"),
        [(".venv/bin/fastnn", ".venv/bin/fastnn"), ("x/fastnn/__main__.py", "python -m fastnn")],
    )
    def test_says_how_to_go_on_from_here(self, folder, capsys, monkeypatch, called, shown):
        monkeypatch.setenv("PATH", "")
        monkeypatch.setattr(sys, "argv", [str(folder / called)])
        assert run("train", "--epochs", 1) == 0
        assert f"your own: {shown} predict digits.safetensors FILE..." in capsys.readouterr().out

    def test_a_place_that_cannot_be_written_is_noticed_before_training(self, folder, capsys):
        assert run("train", "--out", folder / "nowhere" / "m.safetensors") == 1
        captured = capsys.readouterr()
        assert captured.err.startswith("fastnn train: cannot save to")
        assert captured.out == ""

    def test_missing_data_is_explained(self, folder, capsys, monkeypatch):
        monkeypatch.setattr("fastnn.data.fashion_mnist._SYSTEM", folder)
        monkeypatch.setenv("FASTNN_DATA", str(folder))
        monkeypatch.setitem(sys.modules, "pooch", None)
        assert run("train", "--data", "fashion-mnist") == 1
        assert "pip install pooch" in capsys.readouterr().err

    def test_ctrl_c(self, folder):
        command = [sys.executable, "-m", "fastnn", "train", "--epochs", "100000"]
        child = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        assert any(line.startswith("epoch") for line in child.stdout)
        child.send_signal(signal.SIGINT)
        _, errors = child.communicate(timeout=60)
        assert child.returncode == 130
        assert errors.splitlines()[-1] == "fastnn train: interrupted"
        assert os.listdir(folder) == []


class TestPredict:
    def test_arrays(self, trained, folder, capsys):
        x, y = load_digits()[1].arrays
        np.save("one.npy", x[0, 0])
        os.rename("one.npy", "ONE.NPY")
        np.save("many.npy", (x[:40] * 255).astype(np.uint8))
        np.save("flat.npy", x[:40].reshape(40, 64))
        assert run("predict", trained[0], "ONE.NPY", "many.npy", "flat.npy") == 0
        lines = capsys.readouterr().out.splitlines()
        assert len(lines) == 81
        assert re.fullmatch(r"ONE\.NPY: \d \d+\.\d%", lines[0])
        taken = [line.split()[1] for line in lines]
        assert np.mean([int(digit) for digit in taken[1:41]] == y[:40]) > 0.9
        assert taken[1:41] == taken[41:]

    def test_pictures(self, trained, folder, capsys):
        image = pytest.importorskip("PIL.Image")
        x, y = load_digits()[1].arrays
        wrong = 0
        for i in range(20):  # black on white, enlarged, off the middle of a page, in several formats
            ink = np.kron(x[i, 0] * 255, np.ones((10, 10))).astype(np.uint8)
            page = np.full((200, 150), 255, np.uint8)
            page[30:110, 20:100] -= ink
            name = ("page.png", "page.jpg", "page.bmp")[i % 3]
            image.fromarray(page).convert("RGB" if i % 2 else "L").save(name)
            assert run("predict", trained[0], name, "--top", "3") == 0
            line = capsys.readouterr().out
            assert line.count("%") == 3
            wrong += line.split()[1] != str(y[i])
        assert wrong <= 3

    def test_probabilities(self, folder, capsys):
        model = nn.Linear(2, 3)
        model.load_state_dict({"weight": fn.zeros(3, 2), "bias": fn.tensor([0.0, np.log(2.0), np.log(5.0)])})
        fn.save_model(model, "m", preprocessing=Standardize(), classes=["low", "mid", "high"])
        np.save("x.npy", np.zeros((2, 2)))
        assert run("predict", "m", "x.npy", "--top", "9") == 0
        assert capsys.readouterr().out.splitlines() == [
            f"x.npy[{row}]: high 62.5%, mid 25.0%, low 12.5%" for row in range(2)
        ]

    def test_failures_take_one_line(self, trained, folder, capsys):
        (folder / "text.npy").write_text("hello")
        (folder / "text.png").write_text("hello")
        np.save("objects.npy", np.array([{}], dtype=object), allow_pickle=True)
        np.save("odd.npy", np.zeros((2, 7, 3, 2, 1)))
        np.save("nan.npy", np.full((8, 8), np.nan))
        huge = (
            b"\x93NUMPY\x01\x00\x76\x00{'descr': '<f8', 'fortran_order': False, 'shape': (1099511627776,), }"
        )
        (folder / "huge.npy").write_bytes(huge.ljust(127) + b"\n" + bytes(64))
        model = trained[0]
        for arguments in (
            ["missing.safetensors", "odd.npy"],
            ["odd.npy", "odd.npy"],
            [model, "missing.npy"],
            [model, "missing.png"],
            [model, "text.npy"],
            [model, "text.png"],
            [model, "objects.npy"],
            [model, "odd.npy"],
            [model, "nan.npy"],
            [model, "huge.npy"],
            [model, "."],
        ):
            assert run("predict", *arguments) == 1, arguments
            error = capsys.readouterr().err
            assert error.count("\n") == 1
            assert error.startswith(
                f"fastnn predict: {arguments[1] if arguments[0] is model else arguments[0]}"
            )

    def test_model_without_preprocessing(self, folder, capsys):
        fn.save_model(nn.Sequential(nn.Flatten(), nn.Linear(4, 2)), "bare.safetensors")
        np.save("wide.npy", np.zeros((1, 5), np.float32))
        assert run("predict", "bare.safetensors", "wide.npy") == 1
        error = capsys.readouterr().err
        assert error.startswith("fastnn predict: wide.npy: ")
        assert "holds no preprocessing" in error

    def test_pictures_without_pillow(self, trained, folder, capsys, monkeypatch):
        monkeypatch.setitem(sys.modules, "PIL", None)
        (folder / "a.png").write_bytes(b"")
        assert run("predict", trained[0], "a.png") == 1
        assert "pip install pillow" in capsys.readouterr().err


class TestCommand:
    @pytest.mark.parametrize(
        "arguments",
        [
            [],
            ["fly"],
            ["train", "--epochs", "0"],
            ["train", "--epochs", "x"],
            ["train", "--lr", "-1"],
            ["train", "--lr", "nan"],
            ["train", "--data", "imagenet"],
            ["train", "--threads", "0"],
            ["predict", "m.safetensors"],
            ["predict", "m.safetensors", "x.npy", "--top", "0"],
            ["info", "--fly"],
        ],
    )
    def test_bad_usage_is_2(self, capsys, arguments):
        with pytest.raises(SystemExit) as exit_:
            main(arguments)
        assert exit_.value.code == 2
        assert capsys.readouterr().err.startswith("usage: fastnn")

    @pytest.mark.parametrize("command", [[], ["train"], ["predict"], ["info"], ["bench"]])
    def test_help(self, capsys, command):
        with pytest.raises(SystemExit) as exit_:
            main([*command, "--help"])
        assert exit_.value.code == 0
        assert "usage: fastnn" in capsys.readouterr().out

    def test_info(self, capsys):
        assert run("info") == 0
        text = capsys.readouterr().out
        for key, value in fn.info().items():
            line = next(line for line in text.splitlines() if line.split()[0] == key)
            assert isinstance(value, dict) or str(value) in line

    def test_info_as_json(self, capsys):
        import json

        assert run("info", "--json") == 0
        assert json.loads(capsys.readouterr().out) == fn.info()

    def test_a_reader_that_leaves(self):
        command = f"{sys.executable} -m fastnn info | true; exit ${{PIPESTATUS[0]}}"
        done = subprocess.run(["bash", "-c", command], capture_output=True, text=True, check=False)
        assert (done.returncode, done.stderr) == (0, "")


def test_confusion_table():
    labels, predicted = np.array([0, 0, 1, 2, 2, 2]), np.array([0, 1, 1, 2, 2, 0])
    assert confusion_table(labels, predicted, ("cat", "dog", "cow")) == "\n".join(
        [
            "      taken for",
            "      0 1 2",
            "0 cat 1 1 .",
            "1 dog . 1 .",
            "2 cow 1 . 2",
        ]
    )
