"""`python -m kms_grpc` is `kms-grpc`."""

import sys

from kms_grpc.cli.main import main

sys.exit(main())
