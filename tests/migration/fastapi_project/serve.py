import sys

import uvicorn

uvicorn.run("app:app", port=int(sys.argv[1]))
