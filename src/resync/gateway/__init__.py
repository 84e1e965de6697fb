"""The reference gateway: subscribes to every engine, indexes their KV blocks, routes by longest prefix."""
