# The rules of layering.sh; see there.

function breach(line, message)
{
        printf "%s:%d: %s\n", FILENAME, line, message
        breaches++
}

function check_include(name, quoted,    folder)
{
        folder = name
        sub("/.*", "", folder)
        if (place == "public") {
                if (quoted || folder in rank)
                        breach(FNR, "a public header includes " name ", which users do not have")
        } else if (place == "examples" || place == "idlc") {
                if (folder in rank && folder != name && !(place == "idlc" && rank[folder] <= rank["codec"]))
                        breach(FNR, place "/ includes " name ", which is internal to the runtime")
        } else if (quoted && !(folder in rank)) {
                breach(FNR, "write \"folder/file.h\", relative to runtime/: " name)
        } else if (folder in rank && folder != place && rank[folder] >= rank[place]) {
                breach(FNR, place "/ includes " name ", which is not below it")
        }
}

function end_file()
{
        if (lines >= 500)
                printf "%s:%d: the file has %d lines, 500 or more\n", previous, lines, lines
        breaches += lines >= 500
}

BEGIN {
        rank["base"] = 0; rank["codec"] = 1; rank["transport"] = 2; rank["shm"] = 3; rank["net"] = 3; rank["core"] = 4
}

FNR == 1 {
        end_file()
        previous = FILENAME
        lines = body = 0
        split(FILENAME, part, "/")
        place = part[1] != "runtime" ? part[1] : part[2] == "include" ? "public" : part[2]
        if (part[1] == "runtime" && place != "public" && !(place in rank))
                breach(1, "runtime/" place "/ is no layer: tests/layering/layering.sh lists them")
}

part[1] != "examples" { lines = FNR }

/^[ \t]*#[ \t]*include[ \t]*["<]/ {
        name = $0
        sub(/^[^"<]*["<]/, "", name)
        sub(/[">].*/, "", name)
        check_include(name, $0 ~ /include[ \t]*"/)
}

# By the style of the house only the body of a function opens with a brace alone in the first column.
/^{/ { body = FNR }
/^}/ {
        if (body && FNR - body - 1 > 70)
                breach(body, "the function has " FNR - body - 1 " lines, more than 70")
        body = 0
}

END {
        end_file()
        exit breaches > 0
}
