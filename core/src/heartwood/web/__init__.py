"""The HTTP surface: listeners, mounting, binding, problem+json, OpenAPI, server-sent events, outbound client."""
