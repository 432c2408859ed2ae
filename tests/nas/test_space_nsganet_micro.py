"""The micro space of NSGA-Net; what its cells share with those of DARTS is tested there."""

from math import prod

import numpy as np
import pytest

import nas
from device_profiles.errors import UsageError
from nas import testing

#: The cells of the paper, as in its authors' repository.
PUBLISHED = """Genotype(
    normal=[('skip_connect', 0), ('max_pool_3x3', 0), ('dil_conv_5x5', 0), ('max_pool_3x3', 0), ('dil_conv_5x5', 1),
        ('sep_conv_3x3', 3), ('max_pool_3x3', 1), ('sep_conv_5x5', 3), ('sep_conv_3x3', 1), ('sep_conv_3x3', 0)],
    normal_concat=[2, 4, 5, 6],
    reduce=[('avg_pool_3x3', 0), ('sep_conv_3x3', 1), ('dil_conv_3x3', 1), ('max_pool_3x3', 0), ('skip_connect', 2),
        ('dil_conv_5x5', 1), ('skip_connect', 2), ('avg_pool_3x3', 1), ('dil_conv_5x5', 1), ('dil_conv_3x3', 1),],
    reduce_concat=[3, 4, 5, 6]
)"""
ROW_OF_ZERO = "normal(max3~0+max3~0 max3~0+max3~0 max3~0+max3~0 max3~0+max3~0 sep3~0+sep3~0)"


@pytest.mark.slow
def test_the_space_conforms():
    space = nas.spaces.load("nsganet-micro:layers=3,channels=4,resolution=8")
    operators = {gene.name: ("skip", "rec7") for gene in space.genes if "_op" in gene.name}
    testing.check_space(space.restrict(operators))


def test_the_space_has_the_papers_size():
    space = nas.spaces.load("nsganet-micro")
    assert len(space.choices) == 2 * 5 * 4
    assert space.size == (9**10 * prod((node + 1) ** 2 for node in range(1, 6))) ** 2


def test_the_published_cells_concatenate_what_no_node_reads():
    space = nas.spaces.load("nsganet-micro:layers=3,channels=8")
    row = space.parse(PUBLISHED)
    assert space.format(row).startswith("normal(skip~0+max3~0 dil5~0+max3~0 dil5~1+sep3~3 max3~1+sep5~3 ")
    widths = {block.name: block.key for block in space.assembly(row).blocks}
    # Normal, reduction, reduction: four of five nodes each, of 8, 16 and 32 channels.
    assert widths["c0out"] == "nasnet concatenate 4"
    assert widths["c2p0"] == "nasnet halve 32->32"
    assert widths["c2p1"] == "nasnet relu-conv-bn 64->32"
    assert widths["head"] == "nasnet head 128->10"
    with pytest.raises(UsageError, match="concatenate"):
        space.parse(PUBLISHED.replace("[2, 4, 5, 6]", "[2, 3, 4, 5, 6]"))


def test_layers_that_nothing_reads_are_left_out():
    """Normal cells that read their input 0 alone pass by every second layer: of 6, by both reductions."""
    space = nas.spaces.load("nsganet-micro:layers=6,channels=4,resolution=8")
    row = space.parse(f"{ROW_OF_ZERO} reduction(sep7~1+sep7~1 max3~2+max3~2 avg3~0+skip~1 max3~0+max3~0 rec7~4+skip~5)")
    assert {block.name[:2] for block in space.assembly(row).blocks} == {"st", "c1", "c3", "c5", "he"}
    active = space.active(row[None])[0]
    assert active[:20].all()
    assert not active[20:].any()
    assert not space.canonical(row[None])[0, 20:].any()
    other = space.parse(space.format(row).replace("rec7", "sep5"))
    assert space.assembly(other).key == space.assembly(row).key
    assert np.array_equal(space.features(other[None]), space.features(row[None]))


def test_layers_that_are_read_stay():
    """With 7 layers the reductions are 2 and 4, and 6 reads 4."""
    space = nas.spaces.load("nsganet-micro:layers=7,channels=4,resolution=8")
    row = space.parse(f"{ROW_OF_ZERO} reduction(sep7~1+sep7~1 max3~2+max3~2 avg3~1+skip~1 max3~1+max3~1 rec7~4+skip~5)")
    names = [block.name for block in space.assembly(row).blocks]
    assert {name[:2] for name in names} == {"st", "c1", "c3", "c4", "c6", "he"}
    assert "c4p0" not in names
    assert space.active(row[None]).all()


@pytest.mark.parametrize("end", ["sep3~0+sep3~7)", "sep3~0)", "sep3~0+sep3~0", "conv~0+sep3~0)"])
def test_other_texts_are_refused(end):
    text = f"{ROW_OF_ZERO} reduction({' '.join(['max3~0+max3~0'] * 4)} "
    space = nas.spaces.load("nsganet-micro")
    assert space.parse(text + "sep3~0+sep3~0)").shape == (40,)
    with pytest.raises(UsageError):
        space.parse(text + end)
