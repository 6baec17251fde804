@echo off
rem Starts ComfyUI on the processor alone. Every argument goes to ComfyUI as it is.
setlocal EnableExtensions DisableDelayedExpansion
if not exist "%~dp0portable\__main__.py" goto incomplete
if not exist "%~dp0python\python.exe" goto incomplete
"%~dp0python\python.exe" -I -X utf8 "%~dp0portable" run --cpu %*
exit /b %errorlevel%
:incomplete
echo The bundle is not complete: the folder of this file has no portable\ or python\ folder. Unzip all of it, then try again. If it came in parts, unzip each into the same folder, part 1 first. 1>&2
pause
exit /b 1
