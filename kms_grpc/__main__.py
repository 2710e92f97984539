"""Runs the command line: `python -m kms_grpc` is the same as `kms-grpc`."""

import sys

from kms_grpc.cli.main import main

sys.exit(main())
