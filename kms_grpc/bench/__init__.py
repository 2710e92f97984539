"""`kms-grpc bench`: measures the service beside references for the least that each operation can cost."""
