"""The independent auditor: compares what gateways believe with what engines hold, exports the difference."""
