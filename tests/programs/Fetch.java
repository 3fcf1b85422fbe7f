import java.net.HttpURLConnection;
import java.net.URI;
import java.net.http.HttpClient;
import java.net.http.HttpRequest;
import java.net.http.HttpResponse;

/** What Java's two HTTP clients do, told nothing of proxies or certificates. */
class Fetch {
    static final String SITE = "https://secure.example:8443";
    static final byte[] LARGE = new byte[13 << 20];

    public static void main(String[] arguments) throws Exception {
        old();
        for (var version : HttpClient.Version.values()) {
            var client = HttpClient.newBuilder().version(version).build();
            var statuses = "";
            for (var path : new String[] {"/public/a", "/secret"}) {
                statuses += " " + status(client, HttpRequest.newBuilder().uri(URI.create(SITE + path)));
            }
            for (var path : new String[] {"/public/up", "/secret"}) {
                var body = HttpRequest.BodyPublishers.ofByteArray(LARGE);
                statuses += " " + status(client, HttpRequest.newBuilder().uri(URI.create(SITE + path)).POST(body));
            }
            System.out.println(version + statuses);
        }
    }

    static int status(HttpClient client, HttpRequest.Builder request) throws Exception {
        var answer = client.send(request.build(), HttpResponse.BodyHandlers.ofString());
        return answer.statusCode();
    }

    static void old() throws Exception {
        var statuses = "";
        for (var sends : new boolean[] {false, true}) {
            for (var path : new String[] {sends ? "/public/up" : "/public/a", "/secret"}) {
                var connection = (HttpURLConnection) URI.create(SITE + path).toURL().openConnection();
                if (sends) {
                    connection.setDoOutput(true);
                    connection.getOutputStream().write(LARGE);
                }
                statuses += " " + connection.getResponseCode();
            }
        }
        System.out.println("HttpURLConnection" + statuses);
    }
}
