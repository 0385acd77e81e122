"""Translations between the method and the frameworks that host it; nothing in the core knows them."""
