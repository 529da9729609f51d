"""All tests, by what they need: unit, integration, e2e, browser, chaos, gpu. CONTRIBUTING.md describes each folder."""
