"use strict";
// Shows the schema. Who is logged in tries the API with the session: mutations carry its CSRF token.
document.addEventListener("DOMContentLoaded", () => {
  const token = () => (document.cookie.match(/(?:^|; )csrftoken=([^;]+)/) || [])[1] || "";
  window.SwaggerUIBundle({
    url: document.getElementById("api").dataset.schema,
    dom_id: "#api",
    deepLinking: true,
    docExpansion: "none",
    validatorUrl: null,
    requestInterceptor: (request) => {
      if (!["GET", "HEAD", "OPTIONS"].includes(request.method || "GET")) {
        request.headers["X-CSRFToken"] = token();
      }
      return request;
    },
  });
});
