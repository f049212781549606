"""The dashboard: a web page of plain ES modules, and the page that shows the API description."""
