"""Kernel models: one file each, found by name; `protocol.KernelModel` is what they are."""

from __future__ import annotations

from device_profiles.registry import Registry
from predictors.models.protocol import DeviceFacts, KernelModel, KernelPrediction, KernelSamples, MakeKernelModel

__all__ = ["REGISTRY", "DeviceFacts", "KernelModel", "KernelPrediction", "KernelSamples", "MakeKernelModel"]

REGISTRY: Registry[MakeKernelModel] = Registry("predictor", "predictors.models", attribute="MODEL")
