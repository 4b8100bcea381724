import pytest
import torch
from torch import nn

from coppice.core.errors import CoppiceError
from coppice.pruning.surgery.dense import shrink_dense


def test_the_head_is_new_and_the_convolutions_are_kept_bit_for_bit(plain, image):
    state = torch.get_rng_state()
    small = shrink_dense(plain, {"dense1": 4}, seed=0, example=image)
    assert torch.equal(torch.get_rng_state(), state)
    assert (small.dense1.out_features, small.dense2.in_features, small.dense2.out_features) == (4, 4, 4)
    for name, tensor in plain.state_dict().items():
        if not name.startswith("dense"):
            assert torch.equal(small.state_dict()[name], tensor), name
    assert not torch.equal(small.dense1.weight, plain.dense1.weight[:4])
    assert not torch.equal(small.dense2.weight, plain.dense2.weight[:, :4])
    assert small(image).shape == (1, 4)


def test_the_seed_decides_the_new_weights(plain, image):
    one, same, other = (shrink_dense(plain, {"dense1": 4}, seed=s, example=image).dense1.weight for s in (1, 1, 2))
    assert torch.equal(one, same) and not torch.equal(one, other)


def test_as_many_units_as_before_are_new_too(plain, image):
    assert not torch.equal(shrink_dense(plain, {"dense1": 9}, seed=0, example=image).dense1.bias, plain.dense1.bias)


def test_normalisation_behind_the_layer_forgets_the_old_units():
    network = nn.Sequential(nn.Linear(3, 5), nn.BatchNorm1d(5), nn.ReLU(), nn.Linear(5, 2))
    network[1].running_mean.fill_(7)
    small = shrink_dense(network, {"0": 2}, seed=0, example=torch.zeros(1, 3))
    assert small[1].running_mean.tolist() == [0, 0] and network[1].running_mean.tolist() == [7] * 5


@pytest.mark.parametrize(
    ("units", "said"),
    [
        ({"dense1": 0}, "from 1 to 9"),
        ({"dense1": 10}, "cannot have 10 units"),
        ({"dense1": True}, "cannot have True"),
        ({"dense1": 2.0}, "cannot have 2.0"),
        ({"conv1": 2}, "no linear layer 'conv1'"),
        ({"dens1": 2}, "Did you mean 'dense1'"),
        ({"dense2": 2}, "reach the network's output"),
    ],
)
def test_bad_units_are_refused(plain, image, units, said):
    with pytest.raises(CoppiceError) as refused:
        shrink_dense(plain, units, seed=0, example=image)
    assert said in str(refused.value)
