import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.sql.Connection;
import java.sql.DriverManager;
import java.sql.ResultSet;
import java.sql.ResultSetMetaData;
import java.sql.Statement;
import java.time.LocalDate;
import java.time.LocalDateTime;
import java.time.OffsetDateTime;
import java.time.format.DateTimeFormatter;
import java.util.HexFormat;
import microsoft.sql.DateTimeOffset;

/**
 * Microsoft's JDBC driver as a judge: runs the statements of a file, one a line, or prints a query's rows as text.
 *
 * <p>{@code TypesProbe URL exec FILE} and {@code TypesProbe URL dump QUERY}. A row is a line of fields between tabs, with backslash
 * escapes; NULL is {@code \N}.
 */
public final class TypesProbe {
    private static final DateTimeFormatter TIME = DateTimeFormatter.ofPattern("HH:mm:ss.nnnnnnnnn");

    public static void main(String[] arguments) throws Exception {
        try (Connection connection = DriverManager.getConnection(arguments[0]); Statement statement = connection.createStatement()) {
            if (arguments[1].equals("exec")) {
                for (String line : Files.readAllLines(Path.of(arguments[2]))) {
                    statement.execute(line);
                }
            } else {
                try (ResultSet rows = statement.executeQuery(arguments[2])) {
                    dump(rows);
                }
            }
        }
    }

    private static void dump(ResultSet rows) throws Exception {
        ResultSetMetaData columns = rows.getMetaData();
        StringBuilder out = new StringBuilder();
        while (rows.next()) {
            for (int i = 1; i <= columns.getColumnCount(); i++) {
                String text = text(rows, i, columns.getColumnTypeName(i));
                out.append(i == 1 ? "" : "\t").append(text == null ? "\\N" : escape(text));
            }
            out.append('\n');
        }
        System.out.write(out.toString().getBytes(StandardCharsets.UTF_8));
        System.out.flush();
    }

    private static String text(ResultSet rows, int i, String type) throws Exception {
        if (rows.getObject(i) == null) {
            return null;
        }
        return switch (type) {
            case "bit" -> Boolean.toString(rows.getBoolean(i));
            case "tinyint", "smallint", "int", "bigint" -> Long.toString(rows.getLong(i));
            case "decimal", "numeric", "money", "smallmoney" -> rows.getBigDecimal(i).toPlainString();
            case "real" -> "bits:" + Long.toHexString(Double.doubleToRawLongBits(rows.getFloat(i)));
            case "float" -> "bits:" + Long.toHexString(Double.doubleToRawLongBits(rows.getDouble(i)));
            case "date" -> rows.getObject(i, LocalDate.class).toString();
            case "time" -> digits(rows.getObject(i, java.time.LocalTime.class).format(TIME));
            case "smalldatetime", "datetime", "datetime2" -> moment(rows.getObject(i, LocalDateTime.class));
            case "datetimeoffset" -> offset(((DateTimeOffset) rows.getObject(i)).getOffsetDateTime());
            case "binary", "varbinary", "image", "timestamp", "hierarchyid", "geometry", "geography" -> HexFormat.of().formatHex(rows.getBytes(i));
            case "uniqueidentifier" -> rows.getString(i).toLowerCase();
            default -> rows.getString(i);
        };
    }

    private static String moment(LocalDateTime at) {
        return at.toLocalDate() + "T" + digits(at.toLocalTime().format(TIME));
    }

    private static String offset(OffsetDateTime at) {
        String offset = at.getOffset().getId();
        return moment(at.toLocalDateTime()) + (offset.equals("Z") ? "+00:00" : offset);
    }

    /** Six digits of a second; the seventh only if it is not zero. */
    private static String digits(String nanoseconds) {
        String ticks = nanoseconds.substring(0, nanoseconds.length() - 2);
        return ticks.endsWith("0") ? ticks.substring(0, ticks.length() - 1) : ticks;
    }

    private static String escape(String text) {
        return text.replace("\\", "\\\\").replace("\t", "\\t").replace("\n", "\\n").replace("\r", "\\r");
    }
}
