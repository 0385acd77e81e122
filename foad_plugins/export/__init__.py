"""ONNX, torch.export and TorchScript, each checked against the model."""

from .exporter import ExportError, ExportReport, check_compiled, export_model

__all__ = ["ExportError", "ExportReport", "check_compiled", "export_model"]
