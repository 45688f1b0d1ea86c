"""The models over HTTP: requests as jobs, motions by unguessable ids, and the page that shows them."""
