"""Who asks, and what they may do: people, tokens, permissions, audit."""
