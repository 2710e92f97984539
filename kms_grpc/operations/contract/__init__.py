"""The protobuf contract at work: limits, names, validation, encodings, and the audited part of requests."""
