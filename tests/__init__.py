"""All tests, by what they need: unit, integration, e2e, chaos, gpu. CONTRIBUTING.md describes each folder."""
