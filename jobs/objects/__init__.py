"""The object store (S3): its client, keys, JSON documents, presigned URLs and uploads."""
