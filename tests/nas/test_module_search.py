"""A user's own module, from the device to a measured front: profiled, fitted, searched, measured."""

import hwnas
import nas
import predictors


def accuracy(module, budget):
    return 1.0 - 1.0 / sum(parameter.numel() for parameter in module.parameters())


def test_a_module_is_searched_with_a_predictor_of_its_latency(module_space, module_latency, tmp_path):
    predictor = predictors.load(module_latency)
    assert predictor.card.space == module_space.spec
    result = hwnas.search(
        module_space,
        objectives=[
            nas.objective("accuracy", accuracy, maximise=True, unit="fraction"),
            f"latency:{module_latency}",
            "macs",
        ],
        constraints=["latency <= 1 s"],
        folder=tmp_path / "run",
        strategy="nsga2",
        evaluations=6,
        target="fake",
        finalists=1,
    )
    assert {objective.source for objective in result.study.objectives()} == {"function", "predicted", "counted"}
    assert len(result.front) >= 2
    [(arch, finalist)] = result.study.finalists().items()
    assert finalist["measured"]["latency_ms"]["value"] > 0
    assert arch in {point.arch for point in result.front}
