"""What pytest leaves out where the packages of requirements/extras.txt are not installed: `make test-extras` runs it."""

from importlib.util import find_spec

collect_ignore = [] if find_spec('ultralytics') else ['mmlska/yolo', 'tests_extras']
# The same for requirements/app.txt.
collect_ignore += [] if find_spec('gradio') else ['mmlska/app/page.py']
