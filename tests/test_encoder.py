"""Image, words, or both: what the network is told, and how a model keeps it."""

import dataclasses

import pytest
import torch
from PIL import Image

from tests.test_train import CONFIG, recording
from tinybrain.checkpoint import config_from_dict, config_to_dict
from tinybrain.clip import weights
from tinybrain.clip.model import TextConfig, VisionConfig, random_clip
from tinybrain.encoder import (
    Encoder,
    encode_captions,
    random_encoder,
    read_captions,
    spoken,
)
from tinybrain.pipeline import ImageToBrain
from tinybrain.recipes import TINYBRAIN

TOWER = VisionConfig(image_size=32, patch_size=16, width=16, layers=1, heads=2, embed_dim=12)
READER = TextConfig(514, 77, width=16, layers=1, heads=2, embed_dim=12)
PICTURES = [Image.new("RGB", (40, 36), colour) for colour in ("red", "blue", "grey")]
CAPTIONS = ["a photo of a tomato", "a photo of a sea", "a photo of a tomato"]


def encoder(context, tokens=False):
    return random_encoder(TOWER, tokens=tokens, context=context, text=READER)


def test_image_and_words_stand_side_by_side():
    both, sees, reads = (encoder(name) for name in ("image+text", "image", "text"))
    clip = both.load_clip()
    image = sees.encode(clip, PICTURES)
    words = reads.encode(clip, captions=CAPTIONS)
    context = both.encode(clip, PICTURES, CAPTIONS)
    assert image.shape == words.shape == (3, 1, 12)
    assert torch.equal(context, torch.cat([image, words], dim=1))
    assert torch.equal(words[0], words[2]) and not torch.allclose(words[0], words[1])
    many = encoder("image+text", tokens=True).encode(clip, PICTURES, CAPTIONS)
    assert many.shape == (3, 1 + 4 + 1, 12)
    torch.testing.assert_close(many[:, 0], image[:, 0])
    assert torch.equal(many[:, -1:], words)


def test_a_linear_model_is_given_the_class_token_the_words_or_both():
    context = torch.randn(4, 6, 12)
    assert torch.equal(encoder("image").pooled(context), context[:, 0])
    assert torch.equal(encoder("text").pooled(context[:, :1]), context[:, 0])
    wanted = torch.cat([context[:, 0], context[:, 5]], dim=1)
    assert torch.equal(encoder("image+text").pooled(context), wanted)


def test_unit_length_is_of_both_towers():
    both = dataclasses.replace(encoder("image+text", tokens=True), unit_length=True)
    context = both.encode(both.load_clip(), PICTURES, CAPTIONS)
    torch.testing.assert_close(context.norm(dim=2), torch.ones(3, 6))


def test_captions_are_embedded_once_each_and_cut_where_too_long():
    clip = encoder("text").load_clip()
    calls = []
    whole = clip.encode_text
    clip.encode_text = lambda texts, **options: calls.append(texts) or whole(texts, **options)
    captions = [f"number {i % 5}" for i in range(20)] + ["x" * 500]
    z = encode_captions(clip, captions, batch_size=4)
    assert z.shape == (21, 1, 12) and [len(texts) for texts in calls] == [4, 2]
    alone = torch.cat([encode_captions(clip, [caption]) for caption in captions])
    torch.testing.assert_close(z, alone)


def test_what_is_missing_or_too_much_is_named():
    both, sees, reads = (encoder(name) for name in ("image+text", "image", "text"))
    clip = both.load_clip()
    for maker, given, words in (
        (both, (PICTURES, None), "'image\\+text': it needs captions, one per image"),
        (both, (None, CAPTIONS), "'image\\+text': it needs images"),
        (reads, (PICTURES, None), "'text': it needs captions"),
        (sees, (PICTURES, CAPTIONS), "'image': it reads no captions"),
        (both, (PICTURES, CAPTIONS[:2]), "3 images but 2 captions"),
    ):
        with pytest.raises(ValueError, match=words):
            maker.encode(clip, *given)


@pytest.mark.parametrize("change, words", [
    ({"name": "vgg"}, "name 'vgg' is not in"),
    ({"context": "sound"}, "context 'sound' is not in"),
    ({"template": "a photo"}, "has no {} for the concept"),
])  # fmt: skip
def test_encoders_that_cannot_be_are_refused(change, words):
    with pytest.raises(ValueError, match=words):
        dataclasses.replace(encoder("text"), **change)


def test_a_report_is_told_what_the_network_was():
    assert encoder("image+text").describe().startswith(
        "the image (one token) and words (a photo of a {}; one token), by CLIP with random weights"
    )
    many = dataclasses.replace(encoder("text"), table="t.csv").describe()
    assert many.startswith("words (captions of t.csv; one token), by")
    file = Encoder("features", source="kept", tokens=True).describe()
    assert file == "all tokens of the image, by features from kept"


def test_weights_are_found_again_and_others_refused(tmp_path):
    vision = dataclasses.replace(TOWER, width=64, heads=1)
    file, clip = tmp_path / "weights.pt", random_clip(vision, seed=1)
    torch.save(clip.state_dict(), file)
    maker = Encoder("clip", weights=str(file), sha256=weights.checksum(file), unit_length=True)
    context = maker.encode(maker.load_clip(), PICTURES)
    torch.testing.assert_close(context, dataclasses.replace(
        random_encoder(vision, seed=1), unit_length=True).encode(clip, PICTURES))
    torch.save(random_clip(vision, seed=2).state_dict(), file)
    with pytest.raises(ValueError, match=r"weights.pt is not the file of weights this model was"):
        maker.load_clip()


def test_the_checksum_of_a_name_is_not_computed_again(tmp_path, monkeypatch):
    source = weights.WEIGHTS["ViT-L/14"]
    monkeypatch.setattr(weights, "fetch", lambda url, sha256, path: path)  # which has verified it
    assert weights.checksum("ViT-L/14", tmp_path) == source.sha256


@pytest.mark.parametrize("concept, name", [
    ("00001_aardvark", "aardvark"), ("00012_air_conditioner", "air conditioner"),
    ("bat1", "bat"), ("01234_t-shirt", "t-shirt"), ("7", "7"), ("3d_glasses2", "3d glasses"),
])  # fmt: skip
def test_concepts_are_said_as_a_person_would(concept, name):
    assert spoken(concept) == name


def test_model_that_reads_takes_captions_and_survives_its_file(tmp_path):
    both = encoder("image+text")
    data, _ = recording()
    pictures = [PICTURES[row % 3] for row in range(len(data.signals))]
    captions = both.captions([f"{row:05d}_thing_{row % 4}x" for row in range(len(pictures))])
    assert captions[5] == "a photo of a thing 1x"
    context = both.encode(both.load_clip(), pictures, captions)
    config = dataclasses.replace(CONFIG, context_dim=12)
    recipe = dataclasses.replace(TINYBRAIN, sampling_steps=3, products=0)
    model, _ = ImageToBrain.prepare(recipe, config, data, context, both)
    assert model.encoding.ridge.weights.shape[0] == 24  # class token and words
    torch.nn.init.normal_(model.unet.conv_out.weight, std=0.1)  # else it answers 0 to everything
    again = ImageToBrain.load(model.save(tmp_path / "model.pt"))
    assert again.encoder == both == config_from_dict(Encoder, config_to_dict(both))
    signals = again.generate(PICTURES[0], 2, captions="a tomato")
    assert signals.data.shape == (1, 2, *model.shape)
    same = model.generate(both.encode(model.clip, PICTURES[:1], ["a tomato"]), 2)
    torch.testing.assert_close(torch.from_numpy(signals.data), torch.from_numpy(same.data))
    other = again.generate(PICTURES[0], 2, captions="a sea")
    assert abs(other.data - signals.data).max() > 1e-3
    assert again.mean(PICTURES[0], captions="a sea").data.shape == (1, 1, *model.shape)
    deaf = dataclasses.replace(config, conditioning="addition")
    with pytest.raises(ValueError, match="it would not hear the words"):
        ImageToBrain.prepare(recipe, deaf, data, context, both)


def test_captions_come_from_a_table_by_file_name(tmp_path):
    table = tmp_path / "captions.csv"
    table.write_text(
        'caption,image\n"red, ripe",00001_a/x.jpg\nblue,00002_b/x.jpg\nlone,y.jpg\nfurther,z.jpg\n'
    )
    images = [tmp_path / "00002_b" / "x.jpg", tmp_path / "00001_a" / "x.jpg", tmp_path / "y.jpg"]
    assert read_captions(table, images) == ["blue", "red, ripe", "lone"]
    tabs = tmp_path / "captions.tsv"
    tabs.write_text("image\tcaption\ny.jpg\ttwo, words\n")
    assert read_captions(tabs, images[2:]) == ["two, words"]
    with pytest.raises(ValueError, match="no caption for 00009_q/q.jpg"):
        read_captions(table, [*images, tmp_path / "00009_q" / "q.jpg"])


@pytest.mark.parametrize("text, words", [
    (b"", "columns are nothing"),
    (b"image,text\na.jpg,b\n", r"columns are \['image', 'text'\]"),
    (b"image,caption\na.jpg,b\na.jpg,c\n", "'a.jpg' has two captions"),
    (b"image,caption\na.jpg,\n", "'a.jpg' has no captions"),
    (b"image,caption\na.jpg,\xff\xfe\n", "not a table in UTF-8"),
])  # fmt: skip
def test_tables_that_are_none_are_refused(tmp_path, text, words):
    (tmp_path / "t.csv").write_bytes(text)
    with pytest.raises(ValueError, match=words):
        read_captions(tmp_path / "t.csv", [])
    with pytest.raises(FileNotFoundError, match="nowhere.csv is not a file"):
        read_captions(tmp_path / "nowhere.csv", [])
