"""Public models known by name: where their authors publish them, under which licence, and what their files must be."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache

from pydantic import Field

from basecast.spec.model import Frozen


class Known(Frozen):
    """A model that somebody else publishes as a folder of checkpoints."""

    name: str
    url: str = Field(description="where the files lie; {revision} stands for a branch, tag or commit")
    revision: str = Field(description="the one that is taken where none is asked for")
    sums: Mapping[str, str] = Field(description="checkpoint -> SHA-256 in hex; '' where none is known")
    licence: str
    species: str
    genome_build: str = ""
    context: int
    citation: str
    homepage: str


@cache
def known() -> Mapping[str, Known]:
    """The catalogue by name."""
    entries = [
        _openspliceai(short, species, build, context)
        for short, (species, build) in _SPECIES.items()
        for context in _MANE_SUMS
    ]
    illumina = Known(
        name="spliceai-illumina-10000",
        url="https://raw.githubusercontent.com/Illumina/SpliceAI/{revision}/spliceai/models/",
        revision="95fbdc56cddae4bdceea1ec82c0e8ddae16ef697",
        sums={f"spliceai{i}.h5": digest for i, digest in enumerate(_ILLUMINA_SUMS, start=1)},
        licence="CC-BY-NC-4.0",
        species="Homo sapiens",
        genome_build="GRCh37",
        context=10000,
        citation="Jaganathan et al. 2019, Cell 176",
        homepage="https://github.com/Illumina/SpliceAI",
    )
    return {entry.name: entry for entry in [*entries, illumina]}


def _openspliceai(short: str, species: str, build: str, context: int) -> Known:
    files = [f"model_{context}nt_rs{seed}.pt" for seed in range(10, 15)]
    digests = _MANE_SUMS[context] if short == "mane" else [""] * len(files)
    return Known(
        name=f"openspliceai-{short}-{context}",
        url="https://raw.githubusercontent.com/Kuanhao-Chao/OpenSpliceAI/{revision}"
        f"/models/openspliceai-{short}/{context}nt/",
        revision="main",
        sums=dict(zip(files, digests, strict=True)),
        licence="GPL-3.0-only",
        species=species,
        genome_build=build,
        context=context,
        citation="Chao et al. 2025, eLife RP107454",
        homepage="https://github.com/Kuanhao-Chao/OpenSpliceAI",
    )


_SPECIES = {
    "mane": ("Homo sapiens", "GRCh38"),
    "mouse": ("Mus musculus", ""),
    "zebrafish": ("Danio rerio", ""),
    "honeybee": ("Apis mellifera", ""),
    "arabidopsis": ("Arabidopsis thaliana", ""),
}

# SHA-256 of the published files: of OpenSpliceAI's human models by context, seeds 10 to 14; of Illumina's, 1 to 5.
_MANE_SUMS = {
    80: (
        "894594d18be6d3e339d76b9698accf4071bd2f0f32f40c52a2c1b848d1cef9f4",
        "141999005015698296b78f7ee1ce2a6bffc8653195e23963dbad0a5cc124b8ee",
        "ae201087fe05756c7c9dd128df5323648f9081ad5c854e632aea7980852a8e93",
        "d50d31d53067d3beb74a7bc7f5b885ec7cae79e6ce736ee9ce47d463df041f7d",
        "8e669b8df46366575130cf46729baab8103657086d9b070d52af75b8af5dc652",
    ),
    400: (
        "a4838147b4af2e9b19d336f21eeea6bf5af5140ecd33fa3ebdb64b544ea6b547",
        "32120d27b711f4313e5a73dcb1405ea77d1cddeab02709f39348d300d3f0e6de",
        "db74e7948eba498fd55b56a666edf3db8e71068967d71de5e28f1d10c81b529d",
        "b0a3599b5444c8752e22963b52d37f822521a824db3aae16b924fd53ecaeeb51",
        "35bd0ab2598891ed956df886c59e8e9f0ac2879cebede30bbba9887daf8b79d3",
    ),
    2000: (
        "dc5bf14fa830f0105dfd34e034ead9d8067d65facc34ee88c7948c8585c921d3",
        "aebdfa5b62972827ac832a213add3b7bc9e8a7770adbb27a7c6a93346b20215a",
        "0904d00f1b210f34e804385c495fb7ac4bb7c8f8d527e6b4a4046cc131bddb16",
        "9620d8d1b0d5b6e15558f9c63aab0b49e6d9f9bcb3b524b9dcb0879d413e2522",
        "856d1545b58e024f87d61395da5240965c052133897aaf98546d20d70bc85d38",
    ),
    10000: (
        "7b0d6af6239e27392226bbada310ee9e2ce0ced149fb6fdff8996c12cba3cc85",
        "38fe4469eff09ffe5caa291bc224248c81ed68acca0b729afb87450909a8130e",
        "49f38e3fd0e87b81ce22d986d1168eb9b2c55668bfd6aaa064da1082ee668667",
        "bae2756b452f31d45b74604816561da79284d791be37f467491a68342c819b20",
        "cfe2741311ed02dab3042492a5be14029b18d63be693751e9534315a9e4c6271",
    ),
}
_ILLUMINA_SUMS = (
    "e1fd5adcef7489d604b10e79c40078ef790d51ef048c4ce3869c9119ac5de42b",
    "6ab042b82ab966b6d3582cb31b96f0859ea08a864f168d69e83aa14450a3b66e",
    "e2e790bde53dfdf410c6dc434a86122a7d12f3f38dc2ef45d85986e9ecf22fad",
    "ca88ac9e58e69ba6fdeed319b72f063f164c9abf7392eaccef903e94c1d99dd6",
    "791cd22c62a80a08d2ca674615a93ce8159d7b55bd157cfef2983b1bd6b41391",
)
