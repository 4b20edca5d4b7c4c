"""Calls an endpoint of the server at the given address and prints the answer."""

import sys
import urllib.request

call = urllib.request.Request(sys.argv[1] + "/echo/Echo.Say", data=b'"there"')
print(urllib.request.urlopen(call, timeout=30).read().decode())
