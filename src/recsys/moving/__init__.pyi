from .index import ExportIndex, read_index
from .read import import_recommender
from .write import export_recommender

__all__ = ["ExportIndex", "export_recommender", "import_recommender", "read_index"]
