"""`kms-grpc bench`: what the service costs, beside what it cannot cost less than."""
