"""Files of `/v1/files`, in the form of OpenAI's API."""
