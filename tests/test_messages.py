"""What a newcomer gets wrong, and what the message says: the thing that is wrong, and what would be right."""

import bz2
import collections
import io
import lzma
import pickle
import tarfile
import zipfile

import fastnn as fn
import numpy as np
import pytest
from fastnn import nn, optim
from fastnn.data import ArrayDataset, DataLoader, Subset, random_split, train_test_split


def refused(error, message, call):
    with pytest.raises(error, match=message) as caught:
        call()
    text = str(caught.value)
    assert "object at 0x" not in text
    assert len(text) < 700, "no weights are printed"
    return text


@pytest.mark.parametrize("fused", [False, True])
class TestImages:
    def layer(self, channels, fused):
        layer = nn.Conv2d(channels, 4, 3)
        return nn.Sequential(layer, nn.ReLU()) if fused else layer

    def test_other_channels(self, fused):
        text = refused(
            ValueError,
            r"input of shape \(2, 5, 8, 8\) has 5 channels, but .* takes 3",
            lambda: self.layer(3, fused)(fn.zeros(2, 5, 8, 8)),
        )
        assert "weight must" not in text

    def test_channels_last(self, fused):
        refused(ValueError, r"x\.permute\(0, 3, 1, 2\)", lambda: self.layer(3, fused)(fn.zeros(2, 8, 8, 3)))

    @pytest.mark.parametrize(
        ("channels", "shape", "hint"),
        [
            (3, (3, 8, 8), r"x\.unsqueeze\(0\)\n"),
            (3, (8, 8, 3), r"x\.permute\(2, 0, 1\)\.unsqueeze\(0\)"),
            (1, (5, 8, 8), r"x\.unsqueeze\(1\)"),
            (1, (8, 8), r"x\.unsqueeze\(0\)\.unsqueeze\(0\)"),
            (3, (8, 8), r"got \(8, 8\)\n"),
        ],
    )
    def test_no_batch(self, fused, channels, shape, hint):
        x = fn.zeros(shape)
        text = refused(ValueError, hint, lambda: self.layer(channels, fused)(x)).partition("\n")[0]
        assert f"Conv2d: input must have shape (N, {channels}, H, W), got {shape}" in text
        if "x." in text:  # what is proposed is right
            self.layer(channels, fused)(eval(text.rpartition(": ")[2]))


class TestLayers:
    @pytest.mark.parametrize(
        "layer",
        [
            nn.Linear(3, 4), nn.Conv2d(3, 4, 3), nn.BatchNorm1d(3), nn.BatchNorm2d(3), nn.LayerNorm(3), nn.ReLU(),
            nn.Flatten(), nn.MaxPool2d(2), nn.Dropout(), nn.Sequential(nn.Linear(3, 4), nn.ReLU()),
        ],
        ids=lambda layer: type(layer).__name__,
    )  # fmt: skip
    def test_a_list_is_no_tensor(self, layer):
        refused(TypeError, "must be a Tensor.* got list", lambda: layer([1.0, 2.0, 3.0]))
        refused(TypeError, "must be a Tensor.* got None", lambda: layer(None)) if not isinstance(
            layer, nn.BatchNorm1d | nn.BatchNorm2d
        ) else refused(TypeError, "must be a Tensor, got NoneType", lambda: layer(None))

    def test_batch_norm_of_other_channels(self):
        x = fn.zeros(2, 5)
        for settings in ({}, {"affine": False}, {"affine": False, "track_running_stats": False}):
            layer = nn.BatchNorm1d(3, **settings)
            refused(ValueError, r"shape \(2, 5\) has 5 channels, but this layer takes 3", lambda: layer(x))  # noqa: B023
        layer = nn.BatchNorm2d(3)
        refused(ValueError, r"x\.permute\(0, 3, 1, 2\)", lambda: layer(fn.zeros(2, 8, 8, 3)))
        refused(ValueError, r"x\.permute\(0, 2, 1\)", lambda: nn.BatchNorm1d(3)(fn.zeros(2, 8, 3)))
        assert layer.num_batches_tracked.item() == 0

    def test_images_into_a_linear_layer(self):
        refused(ValueError, r"x\.flatten\(1\)", lambda: nn.Linear(64, 2)(fn.zeros(3, 1, 8, 8)))
        text = refused(ValueError, "last dimension must be 64", lambda: nn.Linear(64, 2)(fn.zeros(3, 8)))
        assert "flatten" not in text


class TestOptimizers:
    @pytest.mark.parametrize("make", [optim.SGD, optim.Adam, optim.AdamW])
    def test_what_is_no_list_of_parameters(self, make):
        model = nn.Linear(2, 2)
        refused(TypeError, r"not a Linear: give model\.parameters\(\)", lambda: make(model))
        refused(TypeError, r"model\.parameters\(\), without names", lambda: make(model.named_parameters()))
        refused(TypeError, r"model\.parameters\(\), without names", lambda: make(model.state_dict()))
        refused(TypeError, "must be an iterable of tensors", lambda: make(3))


class TestFiles:
    def test_what_is_saved(self, tmp_path):
        path, model = tmp_path / "m", nn.Linear(2, 2)
        optimizer = optim.SGD(model.parameters())
        refused(TypeError, r"a Linear.*save_model.*state_dict\(\)", lambda: fn.save(model, path))
        refused(TypeError, r"m is a Linear.*state_dict\(\)", lambda: fn.save({"m": model}, path))
        refused(TypeError, r"a SGD.*save its state_dict\(\)", lambda: fn.save(optimizer, path))
        refused(TypeError, r"save\(values, path\): path must be", lambda: fn.save(str(path), {}))
        refused(TypeError, r"load\(path\): path must be", lambda: fn.load(model))
        refused(TypeError, r"load_model\(path\): path must be", lambda: fn.load_model(3))
        refused(TypeError, r"save_model\(model, path\): path must be", lambda: fn.save_model(model, None))
        message = r"save_model\(model, path\): model must be"
        refused(TypeError, message, lambda: fn.save_model(str(path), path))
        refused(TypeError, message, lambda: fn.save_model(model.state_dict(), path))
        assert not path.exists()

    def files(self):
        def archive(**contents):
            file = io.BytesIO()
            with zipfile.ZipFile(file, "w") as made:
                for name, content in contents.items():
                    made.writestr(name.replace("__", "/").replace("_", "."), content)
            return file.getvalue()

        npz, npy = io.BytesIO(), io.BytesIO()
        np.savez(npz, a=np.zeros(3))
        np.save(npy, np.zeros(3))
        return {
            r"holds a pickle, as torch\.save writes.*weights_only=True": archive(
                archive__data_pkl=pickle.dumps(1)
            ),
            r"NumPy \.npz file; read it with numpy\.load": npz.getvalue(),
            r"NumPy \.npy file": npy.getvalue(),
            r"a Keras model": archive(config_json="{}", model_weights_h5=""),
            r"a zip archive of a\.txt, b\.txt, not safetensors": archive(a_txt="a", b_txt="b"),
            r"a zip archive, not safetensors": b"PK\x05\x06" + bytes(18),
            r"a zip archive, not": archive(a_txt="a" * 1000)[:500],
            r"a Python pickle, .*weights_only=True": pickle.dumps([1], protocol=4),
            "gzip; unpack it": b"\x1f\x8b\x08" + bytes(30),
            "GGUF": b"GGUF" + b"\3\0\0\0" * 5,
            "a picture": b"\x89PNG\r\n\x1a\n" + bytes(30),
            "a text file, which begins 'hello, world', not safetensors$": b"hello, world",
            **self.texts(),
            **self.others(),
        }

    def texts(self):
        table = io.BytesIO()
        np.savetxt(table, np.ones((40, 20)))
        page = b"<head><title>404</title></head></html>"
        return {
            "a web page": b"\xef\xbb\xbf\n<!DOCTYPE HTML><html>" + page,
            "a web page ": b"<html>" + page,
            "an XML text": b'<?xml version="1.0"?><Error><Code>AccessDenied</Code></Error>',
            "a pointer of Git LFS.*`git lfs pull`": b"version https://git-lfs.github.com/spec/v1\noid sha256:12\n",
            "a JSON text, .* the index of several": b'{"metadata": {}, "weight_map": {"a": "b"}}',
            "begins '1.000000000000000000e.*numpy.loadtxt reads": table.getvalue(),
        }

    def others(self):
        tar = io.BytesIO()
        with tarfile.open(fileobj=tar, mode="w") as archive:
            archive.addfile(tarfile.TarInfo("weights"))
        return {
            "a tar archive; unpack": tar.getvalue(),
            "bzip2; unpack": bz2.compress(b"x" * 99),
            "xz; unpack": lzma.compress(b"x" * 99),
            "zstd; unpack": b"\x28\xb5\x2f\xfd" + bytes(30),
            "a protocol buffer, such as an ONNX": b"\x08\x08\x12\x07pytorch\x1a\x052.9.0:\xf0\x05\n"
            + b"\x10" * 99,
            "a protocol buffer, such as an ONNX ": b"\x08\x08:\x99\x01\n\x10" + b"a" * 40,
            "a PDF document": b"%PDF-1.7 \x93\x8c" + bytes(30),
            "a program or library": b"\x7fELF\2\1\1" + bytes(30),
            "the header would be 0 bytes": bytes(100),
            "0 bytes are too few for": b"",
        }

    @pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
    def test_pickles_of_every_protocol_are_known(self, tmp_path, protocol):
        path = tmp_path / "w.pkl"
        big = {f"layer{i}": np.arange(1000.0) for i in range(20)}
        values = (
            {"a": np.ones(3)},
            [1, 2],
            (1, "x"),
            {},
            [],
            None,
            1.5,
            "text",
            collections.OrderedDict(a=1),
            big,
        )
        for value in values:
            path.write_bytes(pickle.dumps(value, protocol))
            refused(ValueError, r"a Python pickle, .*weights_only=True", lambda: fn.load(path))

    def test_other_files_are_named(self, tmp_path):
        path = tmp_path / "w.pt"
        for message, content in self.files().items():
            path.write_bytes(content)
            for load in (fn.load, fn.load_model):
                text = refused(ValueError, message, lambda: load(path))  # noqa: B023
                assert text.startswith(f"{path}: ")


class TestData:
    def test_arrays_are_data_sets_too(self):
        x, y = np.arange(20.0).reshape(10, 2), np.arange(10)
        assert [len(part) for part in random_split((x, y), [0.8, 0.2])] == [8, 2]
        assert Subset((x, y), [3])[0][1] == 3
        refused(TypeError, "expected arrays or a data set, not int", lambda: random_split(3, [1, 2]))

    def test_inputs_and_targets_are_one_argument(self):
        x, y = np.arange(20.0, dtype=np.float32).reshape(10, 2), np.arange(10) % 2
        model = nn.Linear(2, 2)
        trainer = fn.Trainer(model, optim.SGD(model.parameters()))
        message = r"batch_size must be .*not a ndarray; .*one argument: \(x, y\)"
        refused(TypeError, message, lambda: trainer.evaluate(x, y))
        refused(TypeError, message, lambda: trainer.predict(x, y))
        refused(TypeError, message, lambda: DataLoader(x, y))
        assert len(ArrayDataset((x, y)).arrays) == 2
        assert len(train_test_split((x, y))) == 4
