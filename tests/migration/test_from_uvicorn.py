"""Projects under uvicorn get Atalanta's WebSockets by the steps of docs/from-uvicorn.md, and give them back."""

import shutil

import pytest
from websockets.exceptions import InvalidStatus

from . import pages
from .projects import HERE, MEMORY, Edit, Project, edit_for, tutorial
from .serving import check_chat, check_origins, check_pages, from_procfile, serving

pytestmark = pytest.mark.slow

PAGE = "from-uvicorn.md"
PROCFILE = "web: uvicorn mysite.asgi:application --host 0.0.0.0 --port 8000\n"


def fastapi_project(directory):
    project = Project(directory / "project")
    shutil.copytree(HERE / "fastapi_project", project.directory)
    project.write("requirements.txt", "fastapi\nuvicorn\nwebsockets\n")
    return project


def channels_project(directory):
    requirements = ["django", "channels", "uvicorn", "websockets"]
    project = tutorial(directory, requirements, ["chat"], "part_3", MEMORY)
    project.write("Procfile", PROCFILE)
    return project


def options_of(command):
    """What a command of the page adds to the name of the application."""
    assert command[:2] == ["uvicorn", "myproject.asgi:application"]
    return command[2:]


def commands():
    """Each command line of the page: as it is without options of its own, and with classes of the page's."""
    found = [options_of(command) for command in pages.commands(PAGE) if command[0] == "uvicorn"]
    assert found[0] == ["--http", "atalanta:HttpProtocol", "--ws", "atalanta:WebSocketProtocol"]
    assert len(found) == 3
    return found


def with_options(options):
    def command(project, port):
        return [*from_procfile(project, port), *options]

    return command


def serve_py(project, port):
    return [project.environment.python, "serve.py", str(port)]


def installed(project):
    """The edit of the requirements after which only Atalanta can serve WebSockets."""
    text = project.read("requirements.txt")
    return Edit(project.directory / "requirements.txt", text, text.replace("websockets\n", "atalanta[server]\n"))


def write_classes(project, package):
    """The page's own classes, where its commands look for them."""
    blocks = [block for block in pages.python_blocks(PAGE) if "uvicorn.run" not in block]
    assert len(blocks) == 2
    package.mkdir(exist_ok=True)
    (package / "sockets.py").write_text("\n\n".join(blocks))


def check_fastapi(project, command):
    with serving(project, command) as site:
        assert site.get("/chat/")[::2] == (200, '{"rooms":0}')
        check_chat(site)


def check_channels(project, command):
    with serving(project, command) as site:
        check_pages(site, static=False)
        check_chat(site)
        check_origins(site)


@pytest.mark.parametrize(("make", "check"), [(fastapi_project, check_fastapi), (channels_project, check_channels)])
def test_the_command_there_and_back(tmp_path, make, check):
    project = make(tmp_path)
    check(project, from_procfile)

    edit = installed(project)
    edit.apply()
    assert not {"websockets", "wsproto"} & project.environment.names
    write_classes(project, project.directory / "myproject")
    for options in commands():
        check(project, with_options(options))

    edit.undo()
    check(project, from_procfile)


def test_without_websockets_and_without_the_options_there_are_none(tmp_path):
    """So what the other tests see is not uvicorn's own class."""
    project = fastapi_project(tmp_path)
    installed(project).apply()
    with serving(project, from_procfile) as site, pytest.raises(InvalidStatus, match="HTTP 404"):
        site.enter("lobby")


def test_the_function_there_and_back(tmp_path):
    project = fastapi_project(tmp_path)
    check_fastapi(project, serve_py)
    arguments = "".join(f", {argument}" for argument in pages.arguments_of_run())
    call = Edit(project.directory / "serve.py", "int(sys.argv[1])", f"int(sys.argv[1]){arguments}")
    edits = [installed(project), call]
    for edit in edits:
        edit.apply()
    check_fastapi(project, serve_py)
    for edit in edits:
        edit.undo()
    check_fastapi(project, serve_py)


def test_the_app_and_the_channel_layer_under_uvicorn(tmp_path):
    """What "gets more from the app" says of a Django project."""
    project = channels_project(tmp_path)
    installed(project).apply()
    settings = project.directory / "mysite" / "settings.py"
    Edit(settings, '    "chat",\n', '    "atalanta",\n    "chat",\n').apply()
    step = next(step for step in pages.steps() if step.of_layer and MEMORY in step.before)
    edit_for(step, project).apply()
    assert "no issues" in project.python("manage.py", "check")
    check_channels(project, with_options(commands()[0]))
