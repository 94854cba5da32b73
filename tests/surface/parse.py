"""Parses statements with Microsoft's ScriptDom. Usage: parse.py < STATEMENTS.json

Reads a list of statements, prints one line for each grammar that refuses one, and ends with 1 if there is any.
"""

import json
import os
import pathlib
import sys
import tempfile

os.environ["DOTNET_SYSTEM_GLOBALIZATION_INVARIANT"] = "1"

import dotnetcore2.runtime
import mssqlcli
import pythonnet
from clr_loader import get_coreclr

# The grammars of SQL Server 2016, 2017 and 2019. A later server takes what these take.
GRAMMARS = ["TSql130Parser", "TSql140Parser", "TSql150Parser"]


def main():
    runtime = pathlib.Path(dotnetcore2.runtime.__file__).parent / "bin"
    version = next((runtime / "shared/Microsoft.NETCore.App").iterdir()).name
    with tempfile.NamedTemporaryFile("w", suffix=".json", delete=False) as configuration:
        json.dump({"runtimeOptions": {"framework": {"name": "Microsoft.NETCore.App", "version": version}}}, configuration)
    pythonnet.set_runtime(get_coreclr(runtime_config=configuration.name, dotnet_root=str(runtime)))
    import clr

    library = "mssqltoolsservice/bin/Microsoft.SqlServer.TransactSql.ScriptDom.dll"
    clr.AddReference(str(pathlib.Path(mssqlcli.__file__).parent / library))
    from Microsoft.SqlServer.TransactSql import ScriptDom
    from System.IO import StringReader

    refused = 0
    statements = json.load(sys.stdin)
    for name in GRAMMARS:
        for sql in statements:
            # The one known difference between the parser and the server: it knows the option of bcp's by another spelling.
            text = sql.replace("KEEP_NULLS", "KEEPNULLS") if sql.startswith("INSERT BULK") else sql
            answer = getattr(ScriptDom, name)(True).Parse(StringReader(text))
            errors = answer[1] if isinstance(answer, tuple) else []
            for error in errors:
                refused += 1
                print(f"{name}: line {error.Line}, column {error.Column}: {error.Message}\n  {sql}")
    print(f"{len(statements)} statements, {len(GRAMMARS)} grammars, {refused} refused")
    sys.exit(1 if refused else 0)


main()
