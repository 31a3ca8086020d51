"""What driftd expects of plug-ins, as functions to call in your own tests; docs/plug-ins has a page for each kind."""

from driftd.plugin_protocols import (
    DeployerPlugin,
    DetectorPlugin,
    MetricPlugin,
    ReceiverPlugin,
    RegistryPlugin,
    RowExtent,
    RowQuery,
    SourcePlugin,
    VersionFiles,
)
from driftd.plugins.conformance import check_detector
from driftd.plugins.conformance import check_loss as check_metric
from driftd.testing.outside import check_deployer, check_receiver, check_registry
from driftd.testing.sources import check_source

__all__ = [
    "DeployerPlugin",
    "DetectorPlugin",
    "MetricPlugin",
    "ReceiverPlugin",
    "RegistryPlugin",
    "RowExtent",
    "RowQuery",
    "SourcePlugin",
    "VersionFiles",
    "check_deployer",
    "check_detector",
    "check_metric",
    "check_receiver",
    "check_registry",
    "check_source",
]
