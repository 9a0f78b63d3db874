"""OpenAI's audio API (platform.openai.com/docs/api-reference/audio)."""
