"""HINet removes noise, blur, rain or compression from a photograph (arXiv 2105.06086)."""

from foveate.systems.restoration.hinet.method import HINBlock, HINet

__all__ = ["HINBlock", "HINet"]
